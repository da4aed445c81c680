from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmstorm.report import write_reports
from calmstorm.report.export import csv_text, latex_text, markdown_text, to_csv, to_latex, to_markdown
from calmstorm.report.tables import Table, columns, number, percent, points, row, share, text
from tests.report.hostile_run import HOSTILE


def table(name: str = "RL") -> Table:
    rows = (
        row(name, percent(0.6653, (0.609, 0.7146)), number(1234.5, 1), group="Ours"),
        row("change", points(-0.0314, (-0.05, 0.0)), number(None), group="Ours", total=True),
        row("STORM", percent(0.689, mark="*"), text("4B"), group="Paper", published=True),
    )
    return Table("table-x", "A & B_1", columns("Model", "Macro 100%", "n"), rows, "95% interval", ("* a #1 note",))


def test_markdown_has_intervals_and_says_what_is_published() -> None:
    assert to_markdown(table()).splitlines() == [
        r"**A \& B\_1**",
        "",
        "95% interval",
        "",
        "|  | source | Model | Macro 100% | n |",
        "| --- | --- | --- | ---: | ---: |",
        r"| Ours | this report | RL | 66.5 \[61, 71\] | 1,234.5 |",
        "| **Ours** | **this report** | **change** | **\u22123.1 \\[\u22125.0, 0.0\\]** | **\u2013** |",
        r"| Paper | published | STORM | 68.9\* | 4B |",
        "",
        r"\* a \#1 note",
    ]


def test_csv_has_numbers_in_full_and_intervals_in_columns_of_their_own() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(table()))))
    assert list(rows[0]) == ["source", "group", "Model", "Macro 100%", "Macro 100% low", "Macro 100% high", "n"]
    assert (rows[0]["Macro 100%"], rows[0]["Macro 100% low"], rows[0]["n"]) == ("0.6653", "0.609", "1234.5")
    assert (rows[1]["Macro 100%"], rows[1]["n"]) == ("-0.0314", "")
    assert (rows[2]["source"], rows[2]["Macro 100%"], rows[2]["Macro 100% low"]) == ("published", "0.689", "")


def test_latex_is_a_booktabs_table_with_its_special_characters_escaped() -> None:
    assert to_latex(table()).splitlines() == [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        "\\caption{A \\& B\\_1: 95\\% interval.}",
        "\\label{tab:table-x}",
        "\\begin{tabular}{llrr}",
        "\\toprule",
        "Model & Source & Macro 100\\% & n \\\\",
        "\\midrule",
        "\\multicolumn{4}{l}{\\textit{Ours}} \\\\",
        "RL & this report & 66.5 {\\scriptsize {[}61, 71{]}} & 1,234.5 \\\\",
        "\\textbf{change} & \\textbf{this report} & "
        "\\textbf{$-$3.1 {\\scriptsize {[}$-$5.0, 0.0{]}}} & \\textbf{--} \\\\",
        "\\addlinespace",
        "\\multicolumn{4}{l}{\\textit{Paper}} \\\\",
        "STORM & published & 68.9{*} & 4B \\\\",
        "\\bottomrule",
        "\\end{tabular}",
        "\\par\\smallskip{\\footnotesize {*} a \\#1 note}",
        "\\end{table}",
    ]


COMMANDS = re.compile(
    r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textasciigrave|ldots|"
    r"textperiodcentered)\{\}|\$(?:-|\\rightarrow|\\star)\$|\\[&%$#_{}]|\{[\[\]*]\}|-\{\}-|``"
)


@given(st.text())
def test_latex_text_holds_nothing_that_tex_would_act_on(raw: str) -> None:
    left = COMMANDS.sub("", latex_text(raw))
    assert not set(left) & set("\\{}$&#%_^~<>|`[]")
    assert "\n" not in left
    assert "--" not in left.replace("\u2013", "") or "\u2013" in raw or "\u2014" in raw
    assert all(letter.isascii() or "\u00c0" <= letter <= "\u017f" for letter in left)


@given(st.text())
def test_markdown_text_stays_within_its_cell_and_is_no_markup(raw: str) -> None:
    shown = markdown_text(raw)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`*_\[\]<>]", shown)


@given(st.text())
def test_csv_text_is_no_formula_and_comes_back_as_one_field(raw: str) -> None:
    shown = csv_text(raw)
    assert shown[:1] not in ("=", "+", "-", "@", "\t", "\r")
    out = io.StringIO()
    csv.writer(out).writerow([shown, "x"])
    assert list(csv.reader(io.StringIO(out.getvalue()))) == [[shown, "x"]]


@pytest.mark.parametrize("write", [to_markdown, to_csv, to_latex])
def test_hostile_names_change_no_table_s_shape(write: object) -> None:
    plain, hostile = (write(table(name)) for name in ("RL", HOSTILE))  # type: ignore[operator]
    assert plain.count("\n") == hostile.count("\n")
    assert "\u202e" not in hostile
    if write is to_latex:
        cells = [re.sub(r"\\&", "", line).count("&") for line in hostile.splitlines() if line.endswith("\\\\")]
        assert set(cells) <= {0, 3}
        bare = COMMANDS.sub("", hostile)
        assert bare.count("{") == bare.count("}")


def test_every_table_of_a_report_is_written_in_three_formats_and_old_ones_go(run_path: Path) -> None:
    folder = run_path / "report_files" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gone.md").write_text("old")
    (folder / "mine.txt").write_text("not ours")
    write_reports([run_path], run_path)
    names = {path.name for path in folder.iterdir()}
    stems = {name.partition(".")[0] for name in names} - {"mine"}
    assert {"accuracy", "pass-at-k", "flaws", "curation", "table-1", "table-2", "figure-7", "settings"} <= stems
    assert names == {"mine.txt"} | {f"{stem}.{ending}" for stem in stems for ending in ("md", "csv", "tex")}
    for stem in stems:
        table = (folder / f"{stem}.csv").read_text(encoding="utf-8")
        assert len({len(line) for line in csv.reader(table.splitlines())}) == 1


def test_numbers_of_the_exported_tables_are_those_of_report_json(run_path: Path) -> None:
    report = write_reports([run_path], run_path).runs[0].model_dump(mode="json")
    table = (run_path / "report_files" / "tables" / "accuracy.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    for row_ in rows:
        stage = {"Base": "base", "SFT": "sft", "RL": "rl"}[row_["Model"]]
        cell = (
            report["macro"][stage] if row_["group"] == "Macro average" else report["evaluation"][stage][row_["group"]]
        )
        assert float(row_["Pass@1"]) == pytest.approx(cell["pass_at_1"])
        assert float(row_["Pass@1 low"]) == pytest.approx(cell["ci95"][0])
    assert len(rows) == 9


def test_shares_and_intervals_are_written_for_people() -> None:
    assert (share(0.4583, (0.39, 0.531)).shown, share(0.4583, (0.39, 0.531)).bounds) == ("45.8%", "[39, 53]")
    assert points(0.0001).shown == "0.0"
    assert number(None).shown == "\u2013"
    assert text().shown == ""
