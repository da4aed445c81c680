from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import plotly.graph_objects as go
import pytest

from calmstorm.printable import visible
from calmstorm.report import read_run, write_reports
from calmstorm.report.charts.layout import LABEL_LENGTH, Figure, label
from calmstorm.report.content import Content
from calmstorm.report.pages import render_html
from tests.report.hostile_run import HOSTILE, NAME
from tests.report.page_reader import read


@pytest.fixture(scope="module")
def page(run_path: Path) -> str:
    return render_html(Content([read_run(run_path)]), pages=True)


@pytest.fixture(scope="module")
def hostile_page(hostile_path: Path) -> str:
    return render_html(Content([read_run(hostile_path)]), pages=True)


@pytest.fixture(scope="module")
def charts(run_path: Path) -> dict[str, Figure]:
    return Content([read_run(run_path)]).figures


def test_hostile_text_adds_no_element_and_no_attribute(page: str, hostile_page: str) -> None:
    plain, hostile = read(page), read(hostile_page)
    assert {tag for tag, _ in hostile.tags} <= {tag for tag, _ in plain.tags}
    assert len(hostile.raw["script"]) == len(plain.raw["script"]) == 5
    assert not [name for _, attributes in hostile.tags for name in attributes if name.startswith("on")]
    links = {attributes["href"] for tag, attributes in hostile.tags if tag == "a"}
    pages = {str(link) for link in links if str(link).startswith("report_files/problems/")}
    assert len(pages) == 18
    assert all(re.fullmatch(r"report_files/problems/[a-z0-9-]+\.html", link) for link in pages)
    assert all(str(link).startswith(("#", "https://arxiv.org/")) for link in links - pages)


def test_hostile_text_is_shown_as_it_is(hostile_page: str) -> None:
    text = "".join(read(hostile_page).text)
    assert text.count(HOSTILE.split("\u2028")[0]) > 20
    assert "{{ 7 * 7 }}" in text
    assert visible(NAME) in text
    assert "49 {" not in text


def test_characters_that_turn_or_hide_text_are_written_out(hostile_page: str) -> None:
    assert not set(hostile_page) & set("\u202e\u2028\u2029\x00\x1b")
    assert "&lt;U+202E&gt;" in hostile_page
    assert visible("a\tb\nc \u200b\u2066") == "a\tb\nc <U+200B><U+2066>"


def test_scripts_are_the_same_whatever_the_run_says(page: str, hostile_page: str) -> None:
    plain, hostile = read(page).raw["script"], read(hostile_page).raw["script"]
    assert [plain[index] == hostile[index] for index in range(5)] == [True, True, False, True, True]


def test_policy_names_exactly_the_scripts_that_run_and_forbids_requests(page: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    directives = policy[1].replace("&#39;", "'").split("; ")
    assert directives[0] == "default-src 'none'"
    assert not any("connect-src" in directive or "http" in directive for directive in directives)
    hashes = set(re.findall(r"'sha256-([^']+)'", directives[1]))
    theme, problem_list, _, _, charts = read(page).raw["script"]
    for script in (theme, problem_list, charts):
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in hashes
    assert len(hashes) == 4
    assert "unsafe-inline" not in directives[1]
    assert "unsafe-eval" not in directives[1]


def test_page_loads_nothing_from_anywhere(page: str) -> None:
    sources = [(tag, name, value) for tag, attributes in read(page).tags for name, value in attributes.items()]
    assert [item for item in sources if item[1] in ("src", "srcset", "data", "action")] == []
    assert [value for tag, name, value in sources if tag == "link" and name == "href"] == ["data:,"]
    assert not re.search(r"url\(|@import", "".join(read(page).raw["style"]))


def test_page_stays_small_enough_to_mail(page: str) -> None:
    assert len(page.encode()) < 3_000_000


def test_page_says_that_a_pocket_run_is_no_evidence_about_large_models(page: str) -> None:
    words = " ".join(page.split())
    assert "it is no evidence about large models" in words
    assert "less than 2.6%" in words


def test_page_names_the_reasoner_when_it_is_not_the_pocket(hostile_page: str) -> None:
    assert "What these numbers hold for" in hostile_page
    assert "This is a pocket demonstration" not in hostile_page


def test_every_chart_has_a_place_and_a_caption_and_every_table_a_title(page: str, charts: dict[str, Figure]) -> None:
    tags = read(page).tags
    places = [str(attributes["id"]) for tag, attributes in tags if attributes.get("class") == "chart"]
    assert sorted(places) == sorted(f"chart-{name}" for name in charts)
    count = {name: sum(tag == name for tag, _ in tags) for name in ("figure", "figcaption")}
    assert count["figure"] == count["figcaption"] == len(places)
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    titled = [attributes for tag, attributes in tags if tag == "table" and "aria-label" not in attributes]
    assert len(titled) > 12
    assert all(attributes["aria-labelledby"] in ids for attributes in titled)


def test_charts_are_valid_plotly_figures_once_colours_are_resolved(charts: dict[str, Figure]) -> None:
    def coloured(value: object) -> object:
        if isinstance(value, dict):
            return {key: coloured(item) for key, item in value.items()}
        if isinstance(value, list):
            return [coloured(item) for item in value]
        return "#123456" if isinstance(value, str) and value.startswith("--") else value

    for name, figure in charts.items():
        drawn = go.Figure(coloured({"data": figure.data, "layout": figure.layout}))
        assert len(drawn.data) >= 1, name


def test_no_chart_is_empty(charts: dict[str, Figure]) -> None:
    for name, figure in charts.items():
        assert all(len(trace["x"]) > 0 for trace in figure.data), name


def test_bars_start_at_zero_and_accuracy_spans_all_shares(charts: dict[str, Figure]) -> None:
    for name in ("funnel", "triggers", "flaws", "figure-2-triggers", "figure-2-a", "figure-2-b", "figure-5"):
        assert charts[name].layout["xaxis"]["range"][0] == 0
    for name in ("accuracy", "figure-4"):
        assert charts[name].layout["xaxis"]["range"] == [0, 1]
    assert all(any(trace["error_x"]["array"]) for trace in charts["accuracy"].data)
    assert all(any(trace["error_x"]["array"]) for trace in charts["flaws"].data)


def test_every_colour_of_a_figure_is_defined_in_both_themes(page: str, charts: dict[str, Figure]) -> None:
    used = set(re.findall(r'"(--[a-z0-9-]+)"', json.dumps([figure.drawn for figure in charts.values()])))
    style = read(page).raw["style"][0]
    light, dark = style.split(':root[data-theme="dark"]', 1)
    assert "--published" in used
    assert all(f"{name}:" in light for name in used)
    assert all(f"{name}:" in dark for name in used - {"--font"})


def test_colours_stand_only_where_the_page_resolves_them(page: str, charts: dict[str, Figure]) -> None:
    def keys(value: object, key: str = "") -> set[str]:
        if isinstance(value, dict):
            return set().union(*(keys(item, name) for name, item in value.items()))
        if isinstance(value, list):
            return set().union(*(keys(item, key) for item in value))
        return {key} if isinstance(value, str) and value.startswith("--") else set()

    resolved = re.search(r"colourKeys = new Set\(\[([^]]*)\]", read(page).raw["script"][4])
    assert resolved is not None
    assert keys([figure.drawn for figure in charts.values()]) <= set(re.findall(r'"(\w+)"', resolved[1]))


def contrast(first: str, second: str) -> float:
    """WCAG 2 contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_marks_have_enough_contrast(page: str, theme: str) -> None:
    style = read(page).raw["style"][0]
    light, dark = style.split(':root[data-theme="dark"]', 1)
    colours = dict(
        re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]{6})", light if theme == "light" else dark.split("@media")[0])
    )
    text = [("--ink", "--ground"), ("--ink-2", "--ground"), ("--link", "--ground"), ("--ink-2", "--sunken")]
    text += [("--good", "--ground"), ("--bad", "--ground"), ("--hint-ink", "--hint-ground"), ("--ink", "--code-ground")]
    text += [("--drop-ink", "--ground"), ("--ink", "--output-ground"), ("--hint-ink", "--ground")]
    for front, back in text:
        assert contrast(colours[front], colours[back]) >= 4.5, (front, back)
    arms = [f"--arm-{number}" for number in range(1, 7)]
    for mark in ("--mark", "--golden", "--published", "--group-code", "--group-expertise", *arms):
        assert contrast(colours[mark], colours["--ground"]) >= 3, mark


def test_json_in_a_script_has_no_markup_and_reads_back_unchanged(hostile_path: Path, hostile_page: str) -> None:
    text = read(hostile_page).raw["script"][2]
    assert text.isascii()
    assert not set("<>&") & set(text)
    figures = Content([read_run(hostile_path)]).figures
    assert json.loads(text) == json.loads(json.dumps({key: figure.drawn for key, figure in figures.items()}))


def test_chart_labels_are_escaped_for_plotly_and_short() -> None:
    assert label("<b>x</b>") == "&lt;b&gt;x&lt;/b&gt;"
    assert "\u202e" not in label("a\u202eb")
    assert len(label("x" * 100)) == LABEL_LENGTH


def test_report_is_the_same_when_written_twice(run_path: Path) -> None:
    write_reports([run_path], run_path)
    first = (run_path / "report.html").read_bytes()
    write_reports([run_path], run_path)
    assert (run_path / "report.html").read_bytes() == first


def test_report_is_written_when_text_holds_odd_characters(hostile_path: Path) -> None:
    numbers = write_reports([hostile_path], hostile_path).runs[0]
    text = (hostile_path / "report.json").read_text(encoding="utf-8")
    assert json.loads(text) == numbers.model_dump(mode="json")
