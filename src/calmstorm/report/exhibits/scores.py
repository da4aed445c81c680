"""Exhibits made of accuracies: tables 1 and 2, figure 4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from calmstorm.evaluation import Comparison
from calmstorm.report.arms import Arm, Lineage, suites_of
from calmstorm.report.charts.scores import Block, Point, forest, point, published_point
from calmstorm.report.exhibits.exhibit import Chart, Exhibit, Gap, evaluation_command, published_note, run_argument
from calmstorm.report.published import PublishedScores, published, suite_name
from calmstorm.report.tables import Cell, Row, Table, columns, percent, points, text

OURS = "This report: pass@1 in percent, 95% interval"
MACRO = "Macro average"


def table_1(arms: Sequence[Arm]) -> Exhibit:
    """What fine-tuning on non-reflective pairs does (section 2.2)."""
    paper = published().table_1
    tables: list[Table] = []
    pilots = [arm for arm in arms if arm.stage == "pilot"]
    for pilot in pilots:
        base = next((arm for arm in arms if arm.report is pilot.report and arm.stage == "base"), None)
        if base is not None:
            suffix = f"-{len(tables) + 1}" if tables else ""
            tables += _beside(f"table-1{suffix}", "Fine-tuning on non-reflective data", [base, pilot], paper.rows)
    gaps = []
    if not tables:
        tables = [_published_only("table-1", "Fine-tuning on non-reflective data", paper.rows, arms)]
        gaps.append(Gap("no run holds the pilot's arm", f"calm experiment pilot --run {_method_run(arms)}"))
    about = (
        "A Reasoner before and after fine-tuning on plain pairs of problem and script. In the paper the pairs are a "
        "published data set; here they are made from the run's own golden set, so that nothing but their form differs."
    )
    return Exhibit(
        "table-1", "Table 1: a pilot on non-reflective data", about, paper.where, tuple(tables), (), tuple(gaps)
    )


def table_2(arms: Sequence[Arm], lineages: Sequence[Lineage]) -> Exhibit:
    """Main results (section 4.2)."""
    paper = published().table_2
    main = [arm for lineage in lineages for arm in lineage.arms]
    tables = _beside("table-2", "Main results", main, paper.rows, lineages)
    names = [name for name in published().paper.benchmarks if any(name in arm.cells for arm in main)]
    gaps = []
    if main and len(names) < len(published().paper.benchmarks):
        what = (
            f"evaluated on {len(names)} of the paper's five benchmarks"
            if names
            else "no model was evaluated on the paper's five benchmarks"
        )
        gaps.append(Gap(what, evaluation_command(main[-1].report, main[-1].stage)))
    charts = _ladder(main, paper.rows)
    about = "Accuracy of models on five benchmarks; every benchmark weighs the same in the macro average."
    return Exhibit("table-2", "Table 2: main results", about, paper.where, tuple(tables), tuple(charts), tuple(gaps))


def figure_4(lineages: Sequence[Lineage]) -> Exhibit:
    """Base, after fine-tuning, after reinforcement (section 4.3.1)."""
    charts, tables, gaps = [], [], []
    for number, lineage in enumerate(lineages, 1):
        suffix = "" if len(lineages) == 1 else f"-{number}"
        title = f"The two stages{f' of {lineage.name}' if lineage.name else ''}"
        if len(lineage.arms) < 2:
            what = f"{lineage.name or lineage.report.name}: only one stage is evaluated"
            command = f"calm experiment ablation --run {run_argument(lineage.report)}"
            if lineage.report.is_evaluation:
                command = "calm report runs/bench-base runs/bench-sft runs/bench-rl --out runs/bench"
            gaps.append(Gap(what, command))
            continue
        charts.append(Chart(f"figure-4{suffix}", title, _stages_figure(lineage), "pass@1; the paper's values hollow"))
        tables += _beside(f"figure-4{suffix}", title, list(lineage.arms), _stage_rows(), [lineage])
    about = (
        "The paper's ablation: the base, the same after fine-tuning on the golden set, and after reinforcement. The "
        "paper prints the values of the middle stage by benchmark only in its picture."
    )
    where = published().figure_4.where
    title = "Figure 4: ablation of the two stages"
    return Exhibit("figure-4", title, about, where, tuple(tables), tuple(charts), tuple(gaps))


# ------------------------------------------------------------------ tables


def _beside(
    key: str, title: str, ours: Sequence[Arm], theirs: Sequence[PublishedScores], lineages: Sequence[Lineage] = ()
) -> list[Table]:
    """Our rows and the paper's: in one table where they have suites in common, else in two."""
    if not ours:
        return [_published_only(key, title, theirs, ours)]
    suites = suites_of(ours)
    benchmarks = list(published().paper.benchmarks)
    joint = any(suite in benchmarks for suite in suites)
    shown = [*benchmarks, *(suite for suite in suites if suite not in benchmarks)] if joint else suites
    sized = any(each.size for each in theirs)
    rows = _our_rows(ours, shown, sized, lineages)
    if joint:
        rows += [_published_row(each, shown, sized) for each in theirs]
        table = _table(key, title, shown, rows, sized, (published_note(ours), *_mark_notes(theirs)))
        return [table]
    note = (
        "These suites are not the paper's, so the published rows stand in a table of their own and can be compared in "
        "nothing but their pattern."
    )
    return [_table(key, title, shown, rows, sized, (note,)), _published_only(f"{key}-published", title, theirs, ours)]


def _published_only(key: str, title: str, theirs: Sequence[PublishedScores], arms: Sequence[Arm]) -> Table:
    shown = list(published().paper.benchmarks)
    sized = any(each.size for each in theirs)
    rows = [_published_row(each, shown, sized) for each in theirs]
    return _table(key, f"{title}, as published", shown, rows, sized, (published_note(arms), *_mark_notes(theirs)))


def _table(key: str, title: str, suites: Sequence[str], rows: list[Row], sized: bool, notes: tuple[str, ...]) -> Table:
    heads = columns("Model", *(["Size"] if sized else []), *map(suite_name, suites), MACRO)
    ours = any(not row.published for row in rows)
    subtitle = "pass@1 in percent, 95% interval clustered by problem" if ours else "pass@1 in percent"
    return Table(key, title, heads, tuple(rows), subtitle, notes)


def _our_rows(arms: Sequence[Arm], suites: Sequence[str], sized: bool, lineages: Sequence[Lineage]) -> list[Row]:
    rows = []
    for arm in arms:
        cells = [_score(arm.cells.get(suite)) for suite in suites]
        size = [text("pocket" if arm.report.numbers["run"]["pocket"] else "")] if sized else []
        rows.append(Row((text(arm.name), *size, *cells, _score(arm.macro)), group=OURS))
    families = [lineage.arms for lineage in lineages] if lineages else [tuple(arms)]
    for family in families:
        for arm in family[1:]:
            name = f"Change, {family[0].name} to {arm.name}"
            by_suite, macro = arm.changes_from(family[0])
            size = [text("")] if sized else []
            cells = [_change(by_suite, suite) for suite in suites]
            whole = points(macro.difference, macro.ci95) if macro else points(None)
            rows.append(Row((text(name), *size, *cells, whole), group="Differences in points, paired by problem"))
    return rows


def _score(cell: Mapping[str, Any] | None) -> Cell:
    return percent(None) if cell is None else percent(cell["pass_at_1"], cell["ci95"])


def _change(by_suite: Mapping[str, Comparison], suite: str) -> Cell:
    found = by_suite.get(suite)
    return points(found.difference, found.ci95) if found else points(None)


def _published_row(each: PublishedScores, suites: Sequence[str], sized: bool) -> Row:
    scores = dict(zip(published().paper.benchmarks, each.scores, strict=False))
    mark = "*" if each.cited else ""

    def cell(value: float | None) -> Cell:
        share = None if value is None else value / 100
        return points(share) if each.change else percent(share, mark=mark)

    cells = [cell(scores.get(suite)) for suite in suites]
    group = f"The paper{f': {each.group}' if each.group else ''}"
    size = [text(each.size)] if sized else []
    return Row((text(each.model), *size, *cells, cell(each.macro)), group=group, published=True)


def _mark_notes(rows: Sequence[PublishedScores]) -> tuple[str, ...]:
    if not any(row.cited for row in rows):
        return ()
    cited = "* Cited by the paper from the papers of these models; all others it measured itself."
    return (cited, published().table_2.note)


def _method_run(arms: Sequence[Arm]) -> str:
    runs = [arm.report for arm in arms if not arm.report.is_evaluation]
    return run_argument(runs[0]) if runs else "runs/demo"


# ------------------------------------------------------------------ charts


def _ladder(arms: Sequence[Arm], theirs: Sequence[PublishedScores]) -> list[Chart]:
    """Macro averages of all models from high to low, where ours has all five benchmarks."""
    five = set(published().paper.benchmarks)
    rows: list[Point] = [published_point(each.model, each.macro) for each in theirs if each.macro is not None]
    ours = [point(arm, arm.macro) for arm in arms if set(arm.cells) == five]
    rows += [each for each in ours if each is not None]
    if not any(not each.published for each in rows):
        return []
    block = Block("macro average", tuple(sorted(rows, key=lambda each: -each.value)))
    subtitle = "of the five benchmarks; filled: this report, hollow: published"
    return [Chart("table-2-ladder", "Macro averages", forest([block]), subtitle)]


def _stages_figure(lineage: Lineage) -> dict[str, Any]:
    """Ours by suite, the paper's stages in the same blocks where it has them, its macro averages last."""
    theirs = {row.model: row for row in _stage_rows()}
    symbols = dict(zip(theirs, ("circle", "square", "diamond"), strict=True))
    benchmarks = list(published().paper.benchmarks)
    blocks = []
    for suite in suites_of(lineage.arms):
        mine = [point(arm, arm.cells.get(suite)) for arm in lineage.arms]
        paper: list[Point] = []
        if suite in benchmarks:
            place = benchmarks.index(suite)
            paper = [
                published_point(f"Paper: {name}", row.scores[place], symbols[name])
                for name, row in theirs.items()
                if len(row.scores) > place
            ]
        blocks.append(Block(suite_name(suite), (*(each for each in mine if each is not None), *paper)))
    macro = [point(arm, arm.macro) for arm in lineage.arms]
    joint = any(suite in benchmarks for suite in suites_of(lineage.arms))
    paper = [published_point(f"Paper: {name}", row.macro or 0.0, symbols[name]) for name, row in theirs.items()]
    mine_macro = tuple(each for each in macro if each is not None)
    if joint:
        blocks.append(Block("macro average", (*mine_macro, *paper)))
    else:
        blocks += [Block("macro average", mine_macro), Block("paper: macro", tuple(paper))]
    return forest(blocks)


def _stage_rows() -> list[PublishedScores]:
    """The paper's three stages; of the middle one the text has only the macro average."""
    rows = {row.model: row for row in published().table_2.rows}
    macro = published().figure_4.macro
    base, storm = rows["Qwen3-4B-Thinking-2507 (Base)"], rows["STORM-Qwen3-4B (Ours)"]
    return [
        PublishedScores(model="base", scores=base.scores, macro=macro["base"]),
        PublishedScores(model="CALM-SFT", scores=(), macro=macro["sft"]),
        PublishedScores(model="STORM", scores=storm.scores, macro=macro["rl"]),
    ]
