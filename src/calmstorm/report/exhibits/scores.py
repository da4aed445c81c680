"""Exhibits made of accuracies: tables 1 and 2, figure 4."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from calmstorm.evaluation import Comparison, Summary
from calmstorm.records import Stage
from calmstorm.report.arms import Arm, Lineage, run_argument, suites_of
from calmstorm.report.charts.layout import Figure
from calmstorm.report.charts.rows import arm_points, forest, published_point
from calmstorm.report.exhibits.exhibit import Chart, Exhibit, Gap, suffixed
from calmstorm.report.numbers import MacroNumbers
from calmstorm.report.published import PublishedScores, published, suite_name
from calmstorm.report.run_tables import MACRO
from calmstorm.report.tables import Cell, Table, TableRow, columns, percent, points, row, text

OURS = "This report: pass@1 in percent, 95% interval"
PAIRED = "Differences in points, paired by problem"


def table_1(arms: Sequence[Arm]) -> Exhibit:
    """What fine-tuning on non-reflective pairs does (section 2.2)."""
    paper = published().table_1
    title = "Fine-tuning on non-reflective data"
    pairs = [
        (base, pilot)
        for pilot in arms
        for base in arms
        if pilot.stage is Stage.PILOT and base.stage is Stage.BASE and base.report is pilot.report
    ]
    tables: list[Table] = []
    for number, pair in enumerate(pairs, 1):
        tables += _beside("table-1" if number == 1 else f"table-1-{number}", title, [pair], paper.rows)
    if tables:
        return Exhibit(paper, tables)
    methods = [run_argument(arm.report) for arm in arms if not arm.report.is_evaluation]
    command = f"calm experiment pilot --run {methods[0] if methods else 'runs/demo'}"
    tables = [_published_table("table-1", title, paper.rows, arms)]
    return Exhibit(paper, tables, gaps=[Gap("no run holds the pilot's arm", command)])


def table_2(arms: Sequence[Arm], lineages: Sequence[Lineage]) -> Exhibit:
    """Main results (section 4.2)."""
    paper = published().table_2
    main = [arm for lineage in lineages for arm in lineage.arms]
    tables = _beside("table-2", "Main results", [lineage.arms for lineage in lineages], paper.rows)
    benchmarks = published().paper.benchmarks
    evaluated = [name for name in benchmarks if any(name in arm.cells for arm in main)]
    gaps = []
    if main and len(evaluated) < len(benchmarks):
        what = (
            f"evaluated on {len(evaluated)} of the paper's five benchmarks"
            if evaluated
            else "no model was evaluated on the paper's five benchmarks"
        )
        gaps.append(Gap(what, _evaluation_command(main[-1])))
    return Exhibit(paper, tables, _ladder(main, paper.rows), gaps)


def figure_4(lineages: Sequence[Lineage]) -> Exhibit:
    """Base, after fine-tuning, after reinforcement (section 4.3.1)."""
    charts, tables, gaps = [], [], []
    for suffix, lineage in suffixed(lineages):
        title = f"The two stages{f' of {lineage.name}' if lineage.name else ''}"
        if len(lineage.arms) < 2:
            what = f"{lineage.name or lineage.report.name}: only one stage is evaluated"
            command = f"calm experiment ablation --run {run_argument(lineage.report)}"
            if lineage.report.is_evaluation:
                command = "calm report runs/bench-base runs/bench-sft runs/bench-rl --out runs/bench"
            gaps.append(Gap(what, command))
            continue
        subtitle = "pass@1; the paper's values hollow"
        charts.append(Chart(f"figure-4{suffix}", title, _stages_figure(lineage.arms), subtitle))
        tables += _beside(f"figure-4{suffix}", title, [lineage.arms], _stage_rows())
    return Exhibit(published().figure_4, tables, charts, gaps)


def _evaluation_command(arm: Arm) -> str:
    """The command that evaluates a model on the paper's five benchmarks."""
    problems = " ".join(f"--problems {name}" for name in published().paper.benchmarks)
    reasoner = shlex.quote(arm.report.numbers.run.reasoner or "pocket")
    if arm.stage in (Stage.SFT, Stage.RL):
        reasoner = f"{run_argument(arm.report)}/models/{arm.stage}"
    return f"calm eval {problems} --reasoner {reasoner} --run runs/bench-{arm.stage}"


# ------------------------------------------------------------------ tables


def _beside(key: str, title: str, families: Sequence[Sequence[Arm]], theirs: Sequence[PublishedScores]) -> list[Table]:
    """Our rows and the paper's: in one table where they have suites in common, else in two.

    Args:
        key: Of the table.
        title: Of the table.
        families: Our models; each but the first of a family is compared with that.
        theirs: The paper's rows.
    """
    arms = [arm for family in families for arm in family]
    if not arms:
        return [_published_table(key, title, theirs, arms)]
    suites = suites_of(arms)
    benchmarks = published().paper.benchmarks
    is_sized = any(scores.size for scores in theirs)
    if any(suite in benchmarks for suite in suites):
        suites = [*benchmarks, *(suite for suite in suites if suite not in benchmarks)]
        rows = [*_our_rows(families, suites), *_published_rows(theirs, suites)]
        return [_table(key, title, suites, rows, _published_notes(theirs, arms), is_sized)]
    note = (
        "These suites are not the paper's, so the published rows stand in a table of their own and can be compared in "
        "nothing but their pattern."
    )
    ours = _table(key, title, suites, _our_rows(families, suites), (note,), is_sized)
    return [ours, _published_table(f"{key}-published", title, theirs, arms)]


def _published_table(key: str, title: str, theirs: Sequence[PublishedScores], arms: Sequence[Arm]) -> Table:
    suites = published().paper.benchmarks
    rows, notes = _published_rows(theirs, suites), _published_notes(theirs, arms)
    return _table(key, f"{title}, as published", suites, rows, notes, any(scores.size for scores in theirs))


def _table(
    key: str, title: str, suites: Sequence[str], rows: Sequence[TableRow], notes: tuple[str, ...], is_sized: bool
) -> Table:
    has_ours = any(not row.published for row in rows)
    subtitle = "pass@1 in percent, 95% interval clustered by problem" if has_ours else "pass@1 in percent"
    table = Table(key, title, columns("Model", "Size", *map(suite_name, suites), MACRO), tuple(rows), subtitle, notes)
    return table if is_sized else table.without_column(1)


def _our_rows(families: Sequence[Sequence[Arm]], suites: Sequence[str]) -> list[TableRow]:
    rows = []
    for arm in (arm for family in families for arm in family):
        size = text("pocket" if arm.report.numbers.run.pocket else "")
        results = [*(arm.cells.get(suite) for suite in suites), arm.macro]
        rows.append(row(arm.name, size, *map(_score, results), group=OURS))
    for first, *others in families:
        for arm in others:
            by_suite, macro = arm.changes_from(first)
            changes = [*(by_suite.get(suite) for suite in suites), macro]
            rows.append(row(f"Change, {first.name} to {arm.name}", text(), *map(_change, changes), group=PAIRED))
    return rows


def _score(result: Summary | MacroNumbers | None) -> Cell:
    return percent(result.pass_at_1, result.ci95) if result else percent(None)


def _change(comparison: Comparison | None) -> Cell:
    return points(comparison.difference, comparison.ci95) if comparison else points(None)


def _published_rows(theirs: Sequence[PublishedScores], suites: Sequence[str]) -> list[TableRow]:
    rows = []
    for scores in theirs:
        by_suite: Mapping[str, float] = dict(zip(published().paper.benchmarks, scores.scores, strict=False))
        cells = []
        for value in (*(by_suite.get(suite) for suite in suites), scores.macro):
            score = None if value is None else value / 100
            cells.append(points(score) if scores.change else percent(score, mark="*" if scores.cited else ""))
        group = f"The paper{f': {scores.group}' if scores.group else ''}"
        rows.append(row(scores.model, text(scores.size), *cells, group=group, published=True))
    return rows


def _published_notes(theirs: Sequence[PublishedScores], arms: Sequence[Arm]) -> tuple[str, ...]:
    """What has to be said wherever the paper's rows stand beside ours."""
    paper = published().paper
    sizes = ", ".join(f"{name} {count}" for name, count in zip(paper.names, paper.test_problems, strict=True))
    note = (
        f"Published rows are from the paper (arXiv {paper.arxiv}), on its own test problems ({sizes}) and label "
        "versions; they have no intervals there."
    )
    if any(arm.report.numbers.run.pocket for arm in arms):
        note += " Ours is a pocket model of about a million parameters: no evidence about large ones."
    if not any(scores.cited for scores in theirs):
        return (note,)
    cited = "* Cited by the paper from the papers of these models; all others it measured itself."
    return (note, cited, published().table_2.note)


# ------------------------------------------------------------------ charts


def _ladder(arms: Sequence[Arm], theirs: Sequence[PublishedScores]) -> list[Chart]:
    """Macro averages of all models from high to low, where ours has all five benchmarks."""
    five = set(published().paper.benchmarks)
    ours = arm_points([arm for arm in arms if set(arm.cells) == five])
    if not ours:
        return []
    paper = [published_point(scores.model, scores.macro) for scores in theirs if scores.macro is not None]
    figure = forest({"macro average": sorted([*paper, *ours], key=lambda point: -point.cell.number)})
    subtitle = "of the five benchmarks; filled: this report, hollow: published"
    return [Chart("table-2-ladder", "Macro averages", figure, subtitle)]


def _stages_figure(arms: Sequence[Arm]) -> Figure:
    """Ours by suite, the paper's stages in the same blocks where it has them, its macro averages last."""
    stages = list(zip(_stage_rows(), ("circle", "square", "diamond"), strict=True))
    benchmarks = published().paper.benchmarks
    suites = suites_of(arms)
    blocks = {}
    for suite in suites:
        place = benchmarks.index(suite) if suite in benchmarks else len(benchmarks)
        theirs = [
            published_point(f"Paper: {scores.model}", scores.scores[place], symbol)
            for scores, symbol in stages
            if place < len(scores.scores)
        ]
        blocks[suite_name(suite)] = [*arm_points(arms, suite), *theirs]
    ours = arm_points(arms)
    paper = [published_point(f"Paper: {scores.model}", scores.macro or 0.0, symbol) for scores, symbol in stages]
    if any(suite in benchmarks for suite in suites):
        return forest(blocks | {"macro average": [*ours, *paper]})
    return forest(blocks | {"macro average": ours, "paper: macro": paper})


def _stage_rows() -> list[PublishedScores]:
    """The paper's three stages; of the middle one the text has only the macro average."""
    rows = {scores.model: scores.scores for scores in published().table_2.rows}
    macro = published().figure_4.macro
    base, storm = rows["Qwen3-4B-Thinking-2507 (Base)"], rows["STORM-Qwen3-4B (Ours)"]
    return [
        PublishedScores(model="base", scores=base, macro=macro["base"]),
        PublishedScores(model="CALM-SFT", scores=(), macro=macro["sft"]),
        PublishedScores(model="STORM", scores=storm, macro=macro["rl"]),
    ]
