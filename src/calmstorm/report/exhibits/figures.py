"""Exhibits of how models behave, not only what they score: figures 2, 5, 6 and 7."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from calmstorm.evaluation import FlawSummary
from calmstorm.records import Stage
from calmstorm.report.arms import Arm, Lineage, run_argument, suites_of
from calmstorm.report.charts.layout import Series
from calmstorm.report.charts.lines import CATEGORIES, CATEGORY_KEYS, evolution, held_out_accuracy, training
from calmstorm.report.charts.rows import arm_points, category_by_suite, forest, selection, trigger_frequencies
from calmstorm.report.collect import RunReport
from calmstorm.report.exhibits.exhibit import Chart, Exhibit, Gap, suffixed
from calmstorm.report.numbers import CurationNumbers, HeldOutNumbers
from calmstorm.report.published import published, suite_name
from calmstorm.report.run_tables import MACRO, trigger_rows
from calmstorm.report.tables import Table, TableRow, columns, load, number, percent, points, rate, row, share, text

MAIN, CONTROL = "RL with CALM", "RL without CALM"
CONTROLLED = {Stage.SFT: MAIN, Stage.RL: MAIN, Stage.CONTROL_SFT: CONTROL, Stage.CONTROL_RL: CONTROL}
"""The arms of the controlled experiment, by stage."""
CONTROLLED_LOGS = (Stage.RL, Stage.CONTROL_RL)
"""Logs of the two arms."""
HARD_SUITES = ("complex", "mamo-complex", "industryor", "optmath")


def figure_2(arms: Sequence[Arm]) -> Exhibit:
    """How often the unguided Reasoner shows each trigger, by benchmark (section 2.3)."""
    paper = published().figure_2
    native = next((arm for arm in arms if arm.flaws is not None), None)
    if native is None or native.flaws is None:
        return Exhibit(paper, gaps=_unsearched(arms[:1]))
    suites, macro = native.flaws.suites, native.flaws.macro
    average = "macro average" if len(suites) > 1 else "all responses"
    subtitle = f"{native.name}, {average}"
    charts = [Chart("figure-2-triggers", "(1) Rate of each trigger", trigger_frequencies(macro), subtitle)]
    for letter, group in zip("ab", CATEGORIES, strict=True):
        figure = category_by_suite(suites, group)
        subtitle = "flaws per response, by trigger"
        charts.append(Chart(f"figure-2-{letter}", f"(2{letter}) {group.label}", figure, subtitle, "half"))
    every = [*suites.values(), macro]
    rows = trigger_rows(lambda trigger: [rate(flaws.triggers[trigger]) for flaws in every], grouped=False)
    rows += [
        row(f"{group.label}, flaws per response", *(load(flaws.loads[group]) for flaws in every))
        for group in CATEGORIES
    ]
    table = Table(
        "figure-2",
        f"Flaws of {native.name} by benchmark",
        columns("Trigger", *map(suite_name, suites), MACRO),
        tuple(rows),
        "share of responses, 95% interval",
    )
    return Exhibit(paper, [table], charts)


def figure_5(reports: Sequence[RunReport]) -> Exhibit:
    """What curation does: fewer wrong answers, shorter responses, a small golden set (section 4.3.2)."""
    curated = [report for report in reports if report.numbers.curation.attempts]
    heads = columns("", "This run", "Published")
    charts, tables, gaps = [], [], []
    for suffix, report in suffixed(curated):
        curation = report.numbers.curation
        title = f"The curation engine{f': {report.name}' if suffix else ''}"
        subtitle = "share of all examples; hollow: published"
        charts.append(Chart(f"figure-5{suffix}", title, selection(curation), subtitle, "half"))
        tables.append(Table(f"figure-5{suffix}", title, heads, _curation_rows(curation)))
    if not curated:
        run = run_argument(reports[0])
        command = f"calm curate --problems NAME --run {run}, then calm golden {run}; or calm demo"
        gaps.append(Gap("no curation is in these runs", command))
        rows = _curation_rows(reports[0].numbers.curation)
        tables.append(Table("figure-5", "The curation engine, as published", heads, rows).without_column(1))
    return Exhibit(published().figure_5, tables, charts, gaps)


def _curation_rows(ours: CurationNumbers) -> tuple[TableRow, ...]:
    """Returns ours beside the paper's."""
    paper = published().figure_5
    before, after = ours.correct_before, ours.correct_after
    lift = None if before is None or after is None else after - before
    cells = {
        "Examples": (number(ours.attempts), number(paper.raw)),
        "Correct after the hints": (number(ours.correct_after_count), number(paper.correct)),
        "Golden": (number(ours.golden), number(paper.golden)),
        "Selection rate": (share(ours.golden / max(1, ours.attempts)), share(paper.selection / 100)),
        "Correct before": (share(before, ours.correct_before_ci95), share(paper.success_before / 100)),
        "Correct after": (share(after, ours.correct_after_ci95), share(paper.success_after / 100)),
        "Lift, points": (points(lift), points((paper.success_after - paper.success_before) / 100)),
        "Response tokens before": (number(ours.tokens_before), number(paper.tokens_before)),
        "Response tokens after": (number(ours.tokens_after), number(paper.tokens_after)),
        "Hints per example": (number(ours.hints_per_problem, 2), number(paper.hints, 2)),
        "Edited tokens, golden": (share(ours.edited_token_share), text(f"< {paper.edited_below}%")),
    }
    return tuple(row(name, *pair, published=not ours.attempts) for name, pair in cells.items())


def figure_6(reports: Sequence[RunReport], arms: Sequence[Arm], lineages: Sequence[Lineage]) -> Exhibit:
    """Reinforcement with and without CALM, and the healing of flaws (section 4.3.3)."""
    controlled = [report for report in reports if report.numbers.learning.get(Stage.CONTROL_RL)]
    methods = [report for report in reports if not report.is_evaluation]
    charts, tables, gaps = [], [], []
    for suffix, report in suffixed(controlled):
        compared = [arm for arm in arms if arm.report is report and arm.stage in CONTROLLED]
        charts += _controlled_charts(f"figure-6{suffix}", report, compared)
        if not any(report.numbers.held_out.get(log) for log in CONTROLLED_LOGS):
            command = "calm experiment controlled --recipe RECIPE --run RUN --set rl.evaluation_steps=5"
            gaps.append(Gap(f"(a): {report.name} measured no accuracy along training", command))
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
    along = [
        (curve, rows)
        for (curve, _), log in zip(curves, CONTROLLED_LOGS, strict=True)
        if (rows := held_out(report, log))
    ]
    if along:
        subtitle_a = "held-out problems, 95% interval"
        charts.append(Chart(f"{key}-a1", "(a) Accuracy along training", held_out_accuracy(along), subtitle_a))
    for letter, (quantity, caption) in zip("abc", captions.items(), strict=True):
        figure = training(curves, quantity)
        charts.append(Chart(f"{key}-{letter}", caption, figure, subtitle, "third"))
    hard = [suite for suite in HARD_SUITES if suite in suites_of(arms)]
    if hard:
        figure = forest({suite_name(suite): arm_points(arms, suite) for suite in hard})
        subtitle = "test accuracy before and after reinforcement, 95% interval"
        charts.append(Chart(f"{key}-a2", "(a) Complex test sets", figure, subtitle))
    return charts


def held_out(report: RunReport, log: str) -> tuple[HeldOutNumbers, ...]:
    """Returns the evaluations while training of one arm."""
    return report.numbers.held_out.get(log, ())


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


def figure_7(lineages: Sequence[Lineage]) -> Exhibit:
    """Flaws of both categories from stage to stage, by benchmark (appendix F)."""
    charts: list[Chart] = []
    tables: list[Table] = []
    gaps: list[Gap] = []
    for suffix, lineage in suffixed(lineages):
        unsearched = [arm for arm in lineage.arms if arm.flaws is None]
        gaps += _unsearched(unsearched) if unsearched else []
        if len(lineage.arms) - len(unsearched) < 2:
            continue
        panels = _panels(lineage.arms)
        charts += [
            Chart(f"figure-7{suffix}-{place}", name, figure, width="third")
            for place, (name, figure) in enumerate(zip(panels, evolution([*panels.values()]), strict=True), 1)
        ]
        title = f"Flaws by benchmark and stage{f', {lineage.name}' if lineage.name else ''}"
        rows = [
            row(group.label, *(load(flaws.loads[group]) for flaws in panel.values()), group=name)
            for name, panel in panels.items()
            for group in CATEGORIES
        ]
        heads = columns("Category", *next(iter(panels.values()), {}))
        subtitle = "flaws per response, 95% interval clustered by problem"
        tables.append(Table(f"figure-7{suffix}", title, heads, tuple(rows), subtitle))
    if not charts and not gaps:
        gaps.append(Gap("only one stage is evaluated", "calm report RUN RUN RUN --out DIRECTORY"))
    legend = CATEGORY_KEYS if charts else ()
    return Exhibit(published().figure_7, tables, charts, gaps, legend)


def _panels(arms: Sequence[Arm]) -> dict[str, dict[str, FlawSummary]]:
    """By suite that every arm with flaws has, the flaws of each arm; the macro average last."""
    searched = {arm.name: arm.flaws for arm in arms if arm.flaws is not None}
    first, *others = searched.values()
    common = [suite for suite in first.suites if all(suite in flaws.suites for flaws in others)]
    panels = {suite_name(suite): {name: flaws.suites[suite] for name, flaws in searched.items()} for suite in common}
    if len(panels) > 1:
        panels[MACRO] = {name: flaws.macro for name, flaws in searched.items()}
    return panels


def _unsearched(arms: Sequence[Arm]) -> list[Gap]:
    if not arms:
        return [Gap("no model is evaluated", "calm eval --problems NAME --reasoner NAME --run RUN")]
    runs = dict.fromkeys(run_argument(arm.report) for arm in arms)
    return [
        Gap(f"{run}: its responses were not searched for flaws", f"calm flaws --responses {run} --keep") for run in runs
    ]
