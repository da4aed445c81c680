"""Exhibits made of curation and training: figures 5 and 6."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from calmstorm.report.arms import Arm, Lineage
from calmstorm.report.build import RunReport
from calmstorm.report.charts.flaws import evolution, highest_load
from calmstorm.report.charts.layout import PUBLISHED, Figure, legend, narrow, percent, rows_layout
from calmstorm.report.charts.scores import Block, forest, point
from calmstorm.report.charts.training import Line, curves
from calmstorm.report.exhibits.exhibit import NO_VALUES, Chart, Exhibit, Gap, run_argument
from calmstorm.report.published import published, suite_name
from calmstorm.report.tables import Cell, Row, Table, columns, number, points, row, share
from calmstorm.report.tables import percent as percent_cell

MAIN, CONTROL = "with CALM", "without CALM"


def figure_5(reports: Sequence[RunReport]) -> Exhibit:
    """What curation does: fewer wrong answers, shorter responses, a small golden set (section 4.3.2)."""
    paper = published().figure_5
    curated = [report for report in reports if report.numbers["curation"]["attempts"]]
    charts, tables = [], []
    for index, report in enumerate(curated, 1):
        suffix = "" if len(curated) == 1 else f"-{index}"
        title = f"The curation engine{f': {report.name}' if len(curated) > 1 else ''}"
        tables.append(_curation_table(f"figure-5{suffix}", title, report))
        subtitle = "share of all examples; hollow: published"
        charts.append(Chart(f"figure-5{suffix}", title, _selection(report.numbers["curation"]), subtitle, "half"))
    gaps = []
    if not curated:
        run = run_argument(reports[0])
        gaps.append(
            Gap("no curation is in these runs", f"calm curate --run {run}, then calm golden {run}; or calm demo")
        )
        tables.append(_curation_table("figure-5", "The curation engine, as published", None))
    about = (
        "From raw examples through hints and filters to the golden set. The paper curates 549 problems of public "
        "benchmarks. The share of edited tokens depends on the length of the responses: a hint is a sentence or two."
    )
    return Exhibit(
        "figure-5", "Figure 5: the curation engine", about, paper.where, tuple(tables), tuple(charts), tuple(gaps)
    )


def _curation_table(key: str, title: str, report: RunReport | None) -> Table:
    paper = published().figure_5
    ours = report.numbers["curation"] if report else None

    def both(name: str, mine: Cell, theirs: Cell) -> Row:
        return row(name, mine, theirs) if ours else row(name, theirs, published=True)

    def mine(key: str, digits: int = 0) -> Cell:
        return number(ours[key] if ours else None, digits)

    golden = ours["golden"] / ours["attempts"] if ours else None
    gain = ours["correct_after"] - ours["correct_before"] if ours and ours["correct_after"] is not None else None
    before = share(ours["correct_before"], ours["correct_before_ci95"]) if ours else share(None)
    after = share(ours["correct_after"], ours["correct_after_ci95"]) if ours else share(None)
    rows = (
        both("Examples", mine("attempts"), number(paper.raw)),
        both("Correct after the hints", mine("correct_after_count"), number(paper.correct)),
        both("Golden", mine("golden"), number(paper.golden)),
        both("Selection rate", share(golden), share(paper.selection / 100)),
        both("Correct before", before, share(paper.success_before / 100)),
        both("Correct after", after, share(paper.success_after / 100)),
        both("Lift, points", points(gain), points((paper.success_after - paper.success_before) / 100)),
        both("Response tokens before", mine("tokens_before"), number(paper.tokens_before)),
        both("Response tokens after", mine("tokens_after"), number(paper.tokens_after)),
        both("Hints per example", mine("hints_per_problem", 2), number(paper.hints, 2)),
        both("Edited tokens, golden", share(ours["edited_token_share"] if ours else None), _below(paper.edited_below)),
    )
    heads = columns("", "This run", "Published") if ours else columns("", "Published")
    return Table(key, title, heads, rows)


def _below(percents: float) -> Cell:
    return Cell(f"< {percents}%")


def _selection(curation: dict[str, Any]) -> Figure:
    paper = published().figure_5
    names = ["Correct before", "Correct after", "Golden"]
    attempts = curation["attempts"]
    mine = [curation[key] / attempts for key in ("correct_before_count", "correct_after_count", "golden")]
    theirs = [paper.success_before / 100, paper.correct / paper.raw, paper.golden / paper.raw]
    data = []
    for name, values, colour, hollow in (("This run", mine, "--mark", False), ("Published", theirs, PUBLISHED, True)):
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": [1, 2, 3],
                "x": values,
                "text": [percent(value) for value in values],
                "textposition": "outside",
                "cliponaxis": False,
                "marker": {
                    "color": "rgba(0,0,0,0)" if hollow else colour,
                    "line": {"color": colour, "width": 1.5 if hollow else 0},
                },
                "hoverinfo": "skip",
            }
        )
    layout = rows_layout(names, left=130, row=58) | {"showlegend": True, "legend": legend()}
    layout["margin"] |= {"t": 40}
    layout["xaxis"] |= {"range": [0, 1.1], "visible": False}
    return {"data": data, "layout": layout, "narrow": narrow(names) | {"margin": {"l": 104}}}


# ------------------------------------------------------------------ figure 6


def figure_6(reports: Sequence[RunReport], arms: Sequence[Arm], lineages: Sequence[Lineage]) -> Exhibit:
    """Reinforcement with and without CALM, and the healing of flaws (section 4.3.3)."""
    paper = published().figure_6
    charts: list[Chart] = []
    tables: list[Table] = []
    controlled = [report for report in reports if report.numbers["learning"].get("control_rl")]
    for index, report in enumerate(controlled, 1):
        suffix = "" if len(controlled) == 1 else f"-{index}"
        charts += _controlled_charts(suffix, report, [arm for arm in arms if arm.report is report])
        tables.append(_controlled_table(f"figure-6{suffix}", report, [arm for arm in arms if arm.report is report]))
    gaps = []
    methods = [report for report in reports if not report.is_evaluation]
    if not controlled and methods:
        what = "(a) to (c): no run holds the control arm; the main arm's own curves stand under Learning"
        gaps.append(Gap(what, f"calm experiment controlled --run {run_argument(methods[0])}"))
    if not methods:
        gaps.append(
            Gap(
                "(a) to (c): these runs only evaluate, they train nothing", "calm experiment controlled --run runs/demo"
            )
        )
    healing = _healing(lineages)
    charts += healing
    if not healing:
        gaps.append(Gap("(d): fewer than two stages with flaws", "see figure 7"))
    about = (
        "Reinforcement after fine-tuning on guided and on unguided trajectories. The paper's (a) is accuracy on "
        "complex test sets along training; runs record the training reward of each step, and test accuracy before and "
        "after; both are shown."
    )
    says = f"{paper.says} {NO_VALUES}"
    title = "Figure 6: reinforcement with and without CALM"
    return Exhibit("figure-6", title, about, paper.where, tuple(tables), tuple(charts), tuple(gaps), says)


def _controlled_charts(suffix: str, report: RunReport, arms: Sequence[Arm]) -> list[Chart]:
    learning = report.numbers["learning"]
    lines = [
        Line(f"RL {MAIN}", learning["rl"], "--arm-3"),
        Line(f"RL {CONTROL}", learning["control_rl"], "--arm-6", dashed=True),
    ]
    parts = [
        ("a", "(a) Training reward", "reward", True),
        ("b", "(b) Code blocks per response", "code_blocks", False),
        ("c", "(c) Response tokens", "response_tokens", False),
    ]
    found = [
        Chart(
            f"figure-6{suffix}-{letter}",
            caption,
            curves(lines, key, share=is_share),
            "dots: steps, line: running mean",
            "third",
        )
        for letter, caption, key, is_share in parts
    ]
    blocks = []
    for suite in _complex_suites(arms):
        rows = [
            point(arm, arm.cells.get(suite)) for arm in arms if arm.stage in ("sft", "rl", "control_sft", "control_rl")
        ]
        blocks.append(Block(suite_name(suite), tuple(each for each in rows if each is not None)))
    if blocks:
        subtitle = "test accuracy before and after reinforcement, 95% interval"
        found.append(Chart(f"figure-6{suffix}-a2", "(a) Complex test sets", forest(blocks), subtitle))
    return found


def _complex_suites(arms: Sequence[Arm]) -> list[str]:
    hard = ("complex", "mamo-complex", "industryor", "optmath")
    return [suite for suite in hard if any(suite in arm.cells for arm in arms)]


def _controlled_table(key: str, report: RunReport, arms: Sequence[Arm]) -> Table:
    rows: list[Row] = []
    for arm in arms:
        if arm.stage in ("sft", "rl", "control_sft", "control_rl") and arm.macro is not None:
            group = f"RL {CONTROL if arm.stage.startswith('control') else MAIN}"
            cells = list(arm.cells.values())
            blocks = sum(cell["code_blocks"] for cell in cells) / len(cells)
            tokens = sum(cell["response_tokens"] for cell in cells) / len(cells)
            score = percent_cell(arm.macro["pass_at_1"], arm.macro["ci95"])
            rows.append(row(arm.name, score, number(blocks, 2), number(tokens), group=group))
    title = f"Before and after reinforcement, with CALM and without: {report.name}"
    heads = columns("Stage", "pass@1, macro", "Code blocks", "Response tokens")
    return Table(key, title, heads, tuple(rows), "evaluation of the models; means over suites")


def _healing(lineages: Sequence[Lineage]) -> list[Chart]:
    found = []
    for index, lineage in enumerate(lineages, 1):
        arms = [arm for arm in lineage.arms if arm.flaws is not None]
        if len(arms) < 2:
            continue
        macros = [arm.flaws.macro for arm in arms if arm.flaws is not None]
        key = "figure-6-d" if len(lineages) == 1 else f"figure-6-d{index}"
        caption = f"(d) Flaws from stage to stage{f', {lineage.name}' if lineage.name else ''}"
        figure = evolution(arms, macros, highest_load(macros), with_legend=True)
        found.append(Chart(key, caption, figure, "per response, macro average", "half"))
    return found
