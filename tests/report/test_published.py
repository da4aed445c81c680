"""The published numbers are the paper's: every row is looked up in its text, where that is at hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from calmstorm.report.published import PublishedScores, published, suite_name

FOLDER = Path(__file__).parents[3] / "shared" / "paper"
TEXTS = sorted(FOLDER.glob("003*.txt")) if FOLDER.is_dir() else []
needs_text = pytest.mark.skipif(not TEXTS, reason="the paper's text is not here")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return TEXTS[0].read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def flat(lines: list[str]) -> str:
    return re.sub(r"-\s+", "-", " ".join(lines).replace("\u2019", "'"))


def number(value: float, row: PublishedScores) -> str:
    return f"{value:+.1f}" if row.change else f"{value:.1f}" + ("*" if row.cited else "")


@needs_text
def test_every_row_of_table_1_stands_in_the_paper(lines: list[str]) -> None:
    for row in published().table_1.rows:
        assert row.macro is not None
        numbers = " ".join(number(value, row) for value in (*row.scores, row.macro))
        assert f"{row.model} {numbers}" in lines


@needs_text
def test_every_row_of_table_2_stands_in_the_paper(lines: list[str]) -> None:
    for row in published().table_2.rows:
        values = [*row.scores, *([row.macro] if row.macro is not None else [])]
        shown = [number(value, row) for value in values]
        shown += ["-"] * (6 - len(shown))
        if row.gains:
            shown = [f"{value} {gain:+.1f}" for value, gain in zip(shown, row.gains, strict=True)]
        assert f"{row.model} {row.size} {' '.join(shown)}" in lines
    groups = dict.fromkeys(row.group for row in published().table_2.rows)
    assert [group for group in groups if not any(group in line for line in lines)] == []


@needs_text
def test_the_numbers_of_figures_4_and_5_stand_in_the_paper(flat: str) -> None:
    (base, sft, rl), curation = published().figure_4.rows, published().figure_5
    assert f"({base.macro}% to {sft.macro}%)" in flat
    assert f"from {sft.macro}% to" in flat
    for stage, row in zip((base, rl), published().table_2.rows[-2:], strict=True):
        assert (stage.scores, stage.macro) == (row.scores, row.macro)
    for words in (
        f"({curation.raw} examples)",
        f"{curation.correct} examples left",
        f"{curation.golden} examples left",
        f"Selection Rate={curation.selection}%",
        f"From {curation.success_before}% to {curation.success_after}%",
        f"From {curation.tokens_before} to {curation.tokens_after}",
        f"{curation.hints} Hints per Problem",
        f"fewer than {curation.edited_below}% of generated tokens",
    ):
        assert words in flat, words


@needs_text
def test_pages_are_those_of_the_paper(lines: list[str]) -> None:
    """In the text a page begins with a blank before its first word."""
    starts = [index for index, line in enumerate(lines) if re.match(r" \S", line)]
    starts = [index for index in starts if not re.match(r" \d+$", lines[index])]  # page 13 has its number there
    captions = {
        "table_1": "Table 1: ",
        "table_2": "Table 2: ",
        "figure_2": "Figure 2: ",
        "figure_5": "Figure 5: ",
        "figure_6": "Figure 6: ",
    }
    for name, caption in captions.items():
        at = next(index for index, line in enumerate(lines) if line.strip().startswith(caption))
        page = sum(start <= at for start in starts)
        assert f"page {page}" in getattr(published(), name).where, name


@needs_text
def test_the_test_sets_are_those_of_table_4(lines: list[str]) -> None:
    text = "\n".join(lines)
    sizes = dict(zip(published().paper.names, published().paper.test_problems, strict=True))
    for name, size in sizes.items():
        at = text.index(f"\n{name} ", text.index("Benchmark Description Original Size"))
        assert int(re.findall(r"^\d+ \d+ \d+ (\d+)$", text[at:], re.MULTILINE)[0]) == size


def test_macro_averages_are_means_of_the_row_but_for_the_one_that_the_report_notes() -> None:
    rows = [row for row in (*published().table_1.rows, *published().table_2.rows) if row.macro and not row.change]
    off = [row.model for row in rows if abs(sum(row.scores) / 5 - (row.macro or 0)) > 0.051]
    assert off == ["OptiMUS"]
    assert "OptiMUS" in published().table_2.note


def test_gains_and_changes_are_differences_of_the_rows() -> None:
    base, storm = published().table_2.rows[-2:]
    assert base.macro is not None
    assert storm.macro is not None
    pairs = zip((*storm.scores, storm.macro), (*base.scores, base.macro), strict=True)
    assert [after - before for after, before in pairs] == pytest.approx(storm.gains, abs=0.051)
    first, second, change = published().table_1.rows
    pairs = zip(second.scores, first.scores, strict=True)
    assert [after - before for after, before in pairs] == pytest.approx(change.scores, abs=0.051)


def test_benchmarks_are_written_as_the_paper_does_and_others_as_they_are() -> None:
    assert suite_name("mamo-complex") == "MAMO-Complex"
    assert suite_name("<b>") == "<b>"
