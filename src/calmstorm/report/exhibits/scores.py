"""Exhibits made of accuracies: tables 1 and 2, figure 4."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from calmstorm.records import Stage
from calmstorm.report.arms import Arm, Lineage, run_argument, suites_of
from calmstorm.report.charts.layout import Figure
from calmstorm.report.charts.rows import arm_points, forest, published_points
from calmstorm.report.exhibits.exhibit import Chart, Exhibit, Gap, suffixed
from calmstorm.report.published import PublishedScores, published, suite_name
from calmstorm.report.run_tables import MACRO
from calmstorm.report.tables import Table, TableRow, columns, percent, points, row, text

APART = (
    "These suites are not the paper's, so the published rows stand in a table of their own and can be compared in "
    "nothing but their pattern."
)
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
    tables = _beside("table-1", title, [], paper.rows, arms)
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
        tables += _beside(f"figure-4{suffix}", title, [lineage.arms], published().figure_4.rows)
    return Exhibit(published().figure_4, tables, charts, gaps)


def _evaluation_command(arm: Arm) -> str:
    """The command that evaluates a model on the paper's five benchmarks."""
    problems = " ".join(f"--problems {name}" for name in published().paper.benchmarks)
    reasoner = shlex.quote(arm.report.numbers.run.reasoner or "pocket")
    if arm.stage in (Stage.SFT, Stage.RL):
        reasoner = f"{run_argument(arm.report)}/models/{arm.stage}"
    return f"calm eval {problems} --reasoner {reasoner} --run runs/bench-{arm.stage}"


# ------------------------------------------------------------------ tables


def _beside(
    key: str,
    title: str,
    families: Sequence[Sequence[Arm]],
    theirs: Sequence[PublishedScores],
    arms: Sequence[Arm] = (),
) -> list[Table]:
    """Our rows and the paper's: in one table where they have suites in common, else in two.

    Args:
        key: Of the table.
        title: Of the table.
        families: Our models; each but the first of a family is compared with that.
        theirs: The paper's rows.
        arms: Ours where there are no families: what they are has to be said.
    """
    members = [arm for family in families for arm in family]
    notes = _published_notes(theirs, members or arms)
    suites, benchmarks = suites_of(members), published().paper.benchmarks
    others = [suite for suite in suites if suite not in benchmarks]
    if len(others) < len(suites):
        suites = [*benchmarks, *others]
        tables = [_table(key, title, suites, [*_our_rows(families, suites), *_published_rows(theirs, suites)], notes)]
    else:
        tables = [_table(key, title, suites, _our_rows(families, suites), (APART,))] if members else []
        key = f"{key}-published" if members else key
        rows = _published_rows(theirs, benchmarks)
        tables.append(_table(key, f"{title}, as published", benchmarks, rows, notes))
    is_sized = any(scores.size for scores in theirs)
    return tables if is_sized else [table.without_column(1) for table in tables]


def _table(key: str, title: str, suites: Sequence[str], rows: Sequence[TableRow], notes: tuple[str, ...]) -> Table:
    interval = "" if all(row.published for row in rows) else ", 95% interval clustered by problem"
    heads = columns("Model", "Size", *map(suite_name, suites), MACRO)
    return Table(key, title, heads, tuple(rows), f"pass@1 in percent{interval}", notes)


def _our_rows(families: Sequence[Sequence[Arm]], suites: Sequence[str]) -> list[TableRow]:
    rows = []
    for arm in (arm for family in families for arm in family):
        size = text("pocket" if arm.report.numbers.run.pocket else "")
        results = [arm.score(suite) for suite in (*suites, None)]
        scores = [percent(result.pass_at_1, result.ci95) if result else percent(None) for result in results]
        rows.append(row(arm.name, size, *scores, group=OURS))
    for first, *others in families:
        for arm in others:
            by_suite, macro = arm.changes_from(first)
            changes = [*(by_suite.get(suite) for suite in suites), macro]
            cells = [points(change.difference, change.ci95) if change else points(None) for change in changes]
            rows.append(row(f"Change, {first.name} to {arm.name}", text(), *cells, group=PAIRED))
    return rows


def _published_rows(theirs: Sequence[PublishedScores], suites: Sequence[str]) -> list[TableRow]:
    rows = []
    for scores in theirs:
        values = [scores.score(suite) for suite in (*suites, None)]
        mark = "*" if scores.cited else ""
        cells = [points(value) if scores.change else percent(value, mark=mark) for value in values]
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
    ladder = sorted([*published_points(theirs), *ours], key=lambda point: -point.cell.number)
    subtitle = "of the five benchmarks; filled: this report, hollow: published"
    return [Chart("table-2-ladder", "Macro averages", forest({"macro average": ladder}), subtitle)]


def _stages_figure(arms: Sequence[Arm]) -> Figure:
    """Ours by suite, the paper's stages in the same blocks where it has them, its macro averages last."""
    stages = published().figure_4.rows
    suites = suites_of(arms)
    blocks = {
        suite_name(suite): [*arm_points(arms, suite), *published_points(stages, suite, staged=True)] for suite in suites
    }
    ours, theirs = arm_points(arms), published_points(stages, staged=True)
    if any(suite in published().paper.benchmarks for suite in suites):
        return forest(blocks | {"macro average": [*ours, *theirs]})
    return forest(blocks | {"macro average": ours, "paper: macro": theirs})
