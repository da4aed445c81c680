"""Exhibits made of curation and training: figures 5 and 6."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from calmstorm.records import Stage
from calmstorm.report.arms import Arm, Lineage, run_argument, suites_of
from calmstorm.report.charts.layout import Series
from calmstorm.report.charts.lines import CATEGORY_KEYS, evolution, training
from calmstorm.report.charts.rows import arm_points, forest, selection
from calmstorm.report.collect import RunReport
from calmstorm.report.exhibits.exhibit import Chart, Exhibit, Gap, suffixed
from calmstorm.report.numbers import CurationNumbers
from calmstorm.report.published import published, suite_name
from calmstorm.report.tables import Cell, Table, TableRow, columns, number, percent, points, row, share, text

MAIN, CONTROL = "RL with CALM", "RL without CALM"
CONTROLLED = {Stage.SFT: MAIN, Stage.RL: MAIN, Stage.CONTROL_SFT: CONTROL, Stage.CONTROL_RL: CONTROL}
"""The arms of the controlled experiment, by stage."""
HARD_SUITES = ("complex", "mamo-complex", "industryor", "optmath")


def figure_5(reports: Sequence[RunReport]) -> Exhibit:
    """What curation does: fewer wrong answers, shorter responses, a small golden set (section 4.3.2)."""
    curated = [report for report in reports if report.numbers.curation.attempts]
    charts, tables, gaps = [], [], []
    for suffix, report in suffixed(curated):
        curation = report.numbers.curation
        title = f"The curation engine{f': {report.name}' if suffix else ''}"
        subtitle = "share of all examples; hollow: published"
        charts.append(Chart(f"figure-5{suffix}", title, selection(curation), subtitle, "half"))
        rows = [
            row(name, ours, theirs)
            for (name, theirs), ours in zip(_published_curation().items(), _our_curation(curation), strict=True)
        ]
        tables.append(Table(f"figure-5{suffix}", title, columns("", "This run", "Published"), tuple(rows)))
    if not curated:
        run = run_argument(reports[0])
        command = f"calm curate --problems NAME --run {run}, then calm golden {run}; or calm demo"
        gaps.append(Gap("no curation is in these runs", command))
        rows = [row(name, theirs, published=True) for name, theirs in _published_curation().items()]
        title = "The curation engine, as published"
        tables.append(Table("figure-5", title, columns("", "Published"), tuple(rows)))
    return Exhibit(published().figure_5, tables, charts, gaps)


def _published_curation() -> dict[str, Cell]:
    paper = published().figure_5
    return {
        "Examples": number(paper.raw),
        "Correct after the hints": number(paper.correct),
        "Golden": number(paper.golden),
        "Selection rate": share(paper.selection / 100),
        "Correct before": share(paper.success_before / 100),
        "Correct after": share(paper.success_after / 100),
        "Lift, points": points((paper.success_after - paper.success_before) / 100),
        "Response tokens before": number(paper.tokens_before),
        "Response tokens after": number(paper.tokens_after),
        "Hints per example": number(paper.hints, 2),
        "Edited tokens, golden": text(f"< {paper.edited_below}%"),
    }


def _our_curation(curation: CurationNumbers) -> list[Cell]:
    """Returns ours, in the order of the paper's."""
    before, after = curation.correct_before, curation.correct_after
    return [
        number(curation.attempts),
        number(curation.correct_after_count),
        number(curation.golden),
        share(curation.golden / curation.attempts),
        share(before, curation.correct_before_ci95),
        share(after, curation.correct_after_ci95),
        points(after - before if after is not None and before is not None else None),
        number(curation.tokens_before),
        number(curation.tokens_after),
        number(curation.hints_per_problem, 2),
        share(curation.edited_token_share),
    ]


# ------------------------------------------------------------------ figure 6


def figure_6(reports: Sequence[RunReport], arms: Sequence[Arm], lineages: Sequence[Lineage]) -> Exhibit:
    """Reinforcement with and without CALM, and the healing of flaws (section 4.3.3)."""
    controlled = [report for report in reports if report.numbers.learning.get(Stage.CONTROL_RL)]
    methods = [report for report in reports if not report.is_evaluation]
    charts, tables, gaps = [], [], []
    for suffix, report in suffixed(controlled):
        compared = [arm for arm in arms if arm.report is report and arm.stage in CONTROLLED]
        charts += _controlled_charts(f"figure-6{suffix}", report, compared)
        tables.append(_controlled_table(f"figure-6{suffix}", report.name, compared))
    if not controlled:
        what = "(a) to (c): these runs only evaluate, they train nothing"
        if methods:
            what = "(a) to (c): no run holds the control arm; the main arm's own curves stand under Learning"
        run = run_argument(methods[0]) if methods else "runs/demo"
        gaps.append(Gap(what, f"calm experiment controlled --run {run}"))
    healing = _healing(lineages)
    if not healing:
        gaps.append(Gap("(d): fewer than two stages with flaws", "see figure 7"))
    return Exhibit(published().figure_6, tables, [*charts, *healing], gaps)


def _controlled_charts(key: str, report: RunReport, arms: Sequence[Arm]) -> list[Chart]:
    learning = report.numbers.learning
    curves = [
        (Series(MAIN, "--arm-3", "solid"), learning[Stage.RL]),
        (Series(CONTROL, "--arm-6", "dash"), learning[Stage.CONTROL_RL]),
    ]
    captions = {
        "reward": "(a) Training reward",
        "code_blocks": "(b) Code blocks per response",
        "response_tokens": "(c) Response tokens",
    }
    subtitle = "dots: steps, line: running mean"
    charts = []
    for letter, (quantity, caption) in zip("abc", captions.items(), strict=True):
        figure = training(curves, quantity)
        charts.append(Chart(f"{key}-{letter}", caption, figure, subtitle, "third"))
    hard = [suite for suite in HARD_SUITES if suite in suites_of(arms)]
    if hard:
        figure = forest({suite_name(suite): arm_points(arms, suite) for suite in hard})
        subtitle = "test accuracy before and after reinforcement, 95% interval"
        charts.append(Chart(f"{key}-a2", "(a) Complex test sets", figure, subtitle))
    return charts


def _controlled_table(key: str, run: str, arms: Sequence[Arm]) -> Table:
    rows: list[TableRow] = []
    for arm in arms:
        if arm.macro is not None:
            blocks = fmean(result.code_blocks for result in arm.cells.values())
            tokens = fmean(result.response_tokens for result in arm.cells.values())
            score = percent(arm.macro.pass_at_1, arm.macro.ci95)
            rows.append(row(arm.name, score, number(blocks, 2), number(tokens), group=CONTROLLED[arm.stage]))
    title = f"Before and after reinforcement, with CALM and without: {run}"
    heads = columns("Stage", "pass@1, macro", "Code blocks", "Response tokens")
    return Table(key, title, heads, tuple(rows), "evaluation of the models; means over suites")


def _healing(lineages: Sequence[Lineage]) -> list[Chart]:
    charts = []
    for suffix, lineage in suffixed(lineages):
        macros = {arm.name: arm.flaws.macro for arm in lineage.arms if arm.flaws is not None}
        if len(macros) > 1:
            caption = f"(d) Flaws from stage to stage{f', {lineage.name}' if lineage.name else ''}"
            (figure,) = evolution([macros], CATEGORY_KEYS)
            subtitle = "per response, macro average"
            charts.append(Chart(f"figure-6-d{suffix.lstrip('-')}", caption, figure, subtitle, "half"))
    return charts
