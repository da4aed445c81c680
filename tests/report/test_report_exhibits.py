"""The paper's tables and figures from runs: what they show, and what they say is missing."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from calmstorm.cli import main
from calmstorm.report import read_run, write_reports
from calmstorm.report.content import Content
from calmstorm.report.exhibits.exhibit import Exhibit
from calmstorm.report.tables import Table, TableRow
from tests.report.benchmark_runs import write_evaluation
from tests.report.synthetic_run import write_run

KEYS = ["table-1", "table-2", "figure-2", "figure-4", "figure-5", "figure-6", "figure-7"]


@pytest.fixture(scope="module")
def demo(run_path: Path) -> Content:
    return Content([read_run(run_path)])


@pytest.fixture(scope="module")
def benchmarks(evaluation_paths: list[Path]) -> Content:
    return Content([read_run(path) for path in evaluation_paths])


@pytest.fixture(scope="module")
def arms(controlled_path: Path) -> Content:
    return Content([read_run(controlled_path)])


def exhibit(shown: Content, key: str) -> Exhibit:
    return next(shown_exhibit for shown_exhibit in shown.exhibits if shown_exhibit.paper.key == key)


def commands(shown: Content, key: str) -> list[str]:
    return [gap.command for gap in exhibit(shown, key).gaps]


def named(table: Table, name: str) -> TableRow:
    return next(row for row in table.rows if row.cells[0].shown == name)


def test_every_exhibit_of_the_paper_is_there_in_its_order(demo: Content, benchmarks: Content) -> None:
    for shown in (demo, benchmarks):
        assert [shown_exhibit.paper.key for shown_exhibit in shown.exhibits] == KEYS
        assert all(shown_exhibit.paper.where and shown_exhibit.paper.about for shown_exhibit in shown.exhibits)


def test_an_exhibit_without_chart_or_table_of_ours_names_a_command(tmp_path: Path) -> None:
    root = tmp_path / "new"
    root.mkdir()
    (root / "config.toml").write_text("seed = 1\n", encoding="utf-8")
    shown = Content([read_run(root)])
    for shown_exhibit in shown.exhibits:
        assert not shown_exhibit.charts
        assert all(row.published for table in shown_exhibit.tables for row in table.rows)
        assert shown_exhibit.gaps or shown_exhibit.paper.key == "table-2" or not shown.lineages
    assert commands(shown, "figure-5") == [
        "calm curate --problems NAME --run runs/new, then calm golden runs/new; or calm demo"
    ]
    assert commands(shown, "table-1") == ["calm experiment pilot --run runs/demo"]


def test_named_commands_have_the_options_they_are_named_with(
    demo: Content, benchmarks: Content, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = write_evaluation(tmp_path / "new", "base", problems=1, samples=1, flaws=False)
    shown = [demo, benchmarks, Content([read_run(new)])]
    named = {gap.command for report in shown for part in report.exhibits for gap in part.gaps}
    used = [re.findall(r"calm (\w+)|(--[a-z-]+)", command) for command in named]
    assert len(named) > 5
    for words in used:
        for command, option in words:
            if command:
                with pytest.raises(SystemExit):
                    main([command, "--help"])
                shown_help = capsys.readouterr().out
            else:
                assert option in shown_help


def test_table_2_sets_ours_beside_the_published_rows_of_the_same_benchmarks(benchmarks: Content) -> None:
    table_2 = exhibit(benchmarks, "table-2")
    assert not table_2.gaps
    (table,) = table_2.tables
    assert [column.name for column in table.columns][2:] == [
        "NL4Opt",
        "MAMO-Easy",
        "MAMO-Complex",
        "IndustryOR",
        "OptMath",
        "Macro average",
    ]
    storm = named(table, "STORM-Qwen3-4B (Ours)")
    assert storm.published
    assert [cell.shown for cell in storm.cells[2:]] == ["93.3", "86.3", "70.3", "50.0", "44.5", "68.9"]
    assert named(table, "GPT-4").cells[2].shown == "89.0*"
    ours = named(table, "bench-rl")
    assert not ours.published
    assert all(cell.interval for cell in ours.cells[2:])
    assert sum(row.published for row in table.rows) == 13
    assert "have no intervals" in table.notes[0]
    assert "pocket" not in table.notes[0]


def test_changes_are_paired_and_equal_the_difference_of_the_scores(benchmarks: Content) -> None:
    (table,) = exhibit(benchmarks, "table-2").tables
    before, after = named(table, "bench-base"), named(table, "bench-rl")
    change = named(table, "Change, bench-base to bench-rl")
    for first, second, difference in zip(before.cells[2:], after.cells[2:], change.cells[2:], strict=True):
        assert isinstance(first.value, float)
        assert isinstance(second.value, float)
        assert isinstance(difference.value, float)
        assert difference.value == pytest.approx(second.value - first.value)
        assert difference.interval is not None
        assert difference.interval[0] <= difference.value <= difference.interval[1]


def test_suites_of_a_demo_stand_apart_from_the_published_benchmarks(demo: Content) -> None:
    ours, theirs = exhibit(demo, "table-2").tables
    assert not ours.has_published
    assert all(row.published for row in theirs.rows)
    assert "can be compared in nothing but their pattern" in ours.notes[0]
    assert "no evidence about large ones" in theirs.notes[0]
    (command,) = commands(demo, "table-2")
    assert command.count("--problems") == 5
    assert command.endswith("--reasoner runs/demo/models/rl --run runs/bench-rl")


def test_table_1_has_the_pilot_when_it_was_run(arms: Content, demo: Content) -> None:
    ours = exhibit(arms, "table-1").tables[0]
    assert [row.cells[0].shown for row in ours.rows] == [
        "Base",
        "Non-reflective SFT",
        "Change, Base to Non-reflective SFT",
    ]
    assert commands(arms, "table-1") == []
    assert commands(demo, "table-1") == ["calm experiment pilot --run runs/demo"]
    assert all(row.published for table in exhibit(demo, "table-1").tables for row in table.rows)


def test_figure_4_draws_the_paper_s_stages_hollow_beside_ours(benchmarks: Content) -> None:
    (chart,) = exhibit(benchmarks, "figure-4").charts
    hollow = [trace for trace in chart.figure.data if trace["marker"]["symbol"].endswith("-open")]
    assert {trace["marker"]["color"] for trace in hollow} == {"--published"}
    values = sorted(value for trace in hollow for value in trace["x"])
    assert len(values) == 13  # base and STORM on five benchmarks, three macro averages
    assert values[-1] == pytest.approx(0.933)
    filled = [trace for trace in chart.figure.data if trace not in hollow]
    assert [len(trace["x"]) for trace in filled] == [6, 6, 6]


def test_figure_4_of_a_single_evaluation_says_how_to_get_the_stages(evaluation_paths: list[Path]) -> None:
    shown = Content([read_run(evaluation_paths[0])])
    assert exhibit(shown, "figure-4").charts == []
    assert commands(shown, "figure-4") == ["calm report runs/bench-base runs/bench-sft runs/bench-rl --out runs/bench"]


def test_figure_5_has_both_columns(demo: Content) -> None:
    (table,) = exhibit(demo, "figure-5").tables
    shown = {row.cells[0].shown: [cell.shown for cell in row.cells[1:]] for row in table.rows}
    assert [values[-1] for values in shown.values()] == [
        "549",
        "443",
        "112",
        "20.4%",
        "64.5%",
        "80.7%",
        "+16.2",
        "9,120",
        "6,484",
        "4.02",
        "< 2.6%",
    ]
    curation = demo.reports[0].numbers.curation
    assert shown["Golden"][0] == f"{curation.golden}"
    assert shown["Hints per example"][0] == f"{curation.hints_per_problem:.2f}"


def test_figure_6_sets_the_control_beside_the_main_arm(arms: Content, demo: Content) -> None:
    figure_6 = exhibit(arms, "figure-6")
    assert not figure_6.gaps
    assert [chart.key for chart in figure_6.charts] == [
        "figure-6-a1",
        "figure-6-a",
        "figure-6-b",
        "figure-6-c",
        "figure-6-a2",
        "figure-6-d",
    ]
    along = figure_6.charts[0].figure.data
    assert [(trace["name"], trace["x"], trace["y"][0]) for trace in along] == [
        ("RL with CALM", [0.0, 6.0, 12.0, 18.0, 24.0], 0.5),
        ("RL without CALM", [0.0, 6.0, 12.0, 18.0, 24.0], 0.5),
    ]
    assert along[0]["error_y"]["array"][0] == pytest.approx(0.1)
    lines = [trace["name"] for trace in figure_6.charts[1].figure.data if trace["mode"] == "lines"]
    assert lines == ["RL with CALM", "RL without CALM"]
    (table,) = figure_6.tables
    assert [row.group for row in table.rows] == ["RL with CALM"] * 2 + ["RL without CALM"] * 2
    assert commands(demo, "figure-6") == ["calm experiment controlled --run runs/demo"]
    assert [chart.key for chart in exhibit(demo, "figure-6").charts] == ["figure-6-d"]


def test_accuracy_along_training_stands_under_learning_and_a_run_without_it_says_how_to_get_it(
    arms: Content, demo: Content
) -> None:
    (learning,) = arms.learning
    assert "rl-accuracy" in [chart.key for chart in learning.charts]
    table = next(table for table in learning.tables if table.key == "held-out")
    assert [row.group for row in table.rows] == ["RL"] * 5 + ["Control RL"] * 5
    assert [cell.shown for cell in table.rows[0].cells] == ["0", "50.0%", "64", "1"]
    assert all("evaluation" not in step for steps in arms.reports[0].numbers.learning.values() for step in steps)

    numbers = arms.reports[0].numbers.model_copy(update={"held_out": {}})
    without = Content([replace(arms.reports[0], numbers=numbers)])
    (gap,) = exhibit(without, "figure-6").gaps
    assert gap.command.endswith("--set rl.evaluation_steps=5")
    assert "held-out" not in [table.key for table in without.tables]


def test_figures_2_and_7_are_made_of_flaws_with_intervals(benchmarks: Content) -> None:
    two, seven = exhibit(benchmarks, "figure-2"), exhibit(benchmarks, "figure-7")
    flaws = benchmarks.arms[0].flaws
    assert flaws is not None
    (table,) = two.tables
    assert [column.name for column in table.columns][1:] == [
        "NL4Opt",
        "MAMO-Easy",
        "MAMO-Complex",
        "IndustryOR",
        "OptMath",
        "Macro average",
    ]
    assert table.rows[4].cells[-1].value == pytest.approx(flaws.macro.triggers[5].mean)
    assert all(cell.interval for row in table.rows for cell in row.cells[1:])
    assert [chart.caption for chart in seven.charts] == [column.name for column in table.columns][1:]
    assert len({str(chart.figure.layout["yaxis"]["range"]) for chart in seven.charts}) == 1
    assert two.paper.says


def test_an_evaluation_without_flaws_names_the_command_that_finds_them(tmp_path: Path) -> None:
    paths = [write_evaluation(tmp_path / name, name, problems=2, samples=1, flaws=False) for name in ("base", "rl")]
    shown = Content([read_run(path) for path in paths])
    wanted = [f"calm flaws --responses runs/{name} --keep" for name in ("base", "rl")]
    assert commands(shown, "figure-7") == wanted
    assert commands(shown, "figure-2") == wanted[:1]
    assert exhibit(shown, "figure-7").charts == []
    write_reports(paths, tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert all(command in html for command in wanted)
    assert "chart-figure-7" not in html


def test_arms_of_two_seeds_keep_their_runs_apart(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / f"seed-{n}", seed=n, curation=4, tests=3, samples=2) for n in (1, 2)]
    shown = Content([read_run(path) for path in paths])
    assert [arm.name for arm in shown.arms] == [f"seed-{n}: {stage}" for n in (1, 2) for stage in ("Base", "SFT", "RL")]
    assert [lineage.name for lineage in shown.lineages] == ["seed-1", "seed-2"]
    keys = [table.key for table in shown.tables]
    assert len(keys) == len(set(keys))
    assert len(shown.figures) == sum(len(part.charts) for part in shown.parts)
