"""Exhibits made of flaws: figures 2 and 7."""

from __future__ import annotations

from collections.abc import Sequence

from calmstorm.evaluation import FlawSummary, Rate
from calmstorm.report.arms import Arm, Lineage
from calmstorm.report.charts.flaws import (
    CATEGORY_NAMES,
    category_by_suite,
    evolution,
    highest_load,
    trigger_frequencies,
)
from calmstorm.report.counts import suite_rank
from calmstorm.report.exhibits.exhibit import NO_VALUES, Chart, Exhibit, Gap, run_argument
from calmstorm.report.published import published, suite_name
from calmstorm.report.tables import Cell, Row, Table, columns, number, rate, row
from calmstorm.report.triggers import TRIGGER_NAMES


def figure_2(arms: Sequence[Arm]) -> Exhibit:
    """How often the unguided Reasoner shows each trigger, by benchmark (section 2.3)."""
    paper = published().figure_2
    native = next((arm for arm in arms if arm.flaws is not None), None)
    about = (
        "Flaws of the Reasoner as it comes, before any adaptation. A bar is the mean number of flaws of the category "
        "in a response; a response shows a trigger once or not at all."
    )
    says = f"{paper.says} {NO_VALUES}"
    title = "Figure 2: which flaws, and where"
    if native is None or native.flaws is None:
        return Exhibit("figure-2", title, about, paper.where, gaps=_no_flaws(arms[:1]), says=says)
    suites, macro = native.flaws.suites, native.flaws.macro
    average = "macro average" if len(suites) > 1 else "all responses"
    name = f"{native.name}, {average}"
    charts = [Chart("figure-2-triggers", "(1) Rate of each trigger", trigger_frequencies(macro), name)]
    for letter, (category, group) in zip("ab", CATEGORY_NAMES.items(), strict=True):
        figure = category_by_suite(suites, category)
        charts.append(
            Chart(f"figure-2-{letter}", f"(2{letter}) {group}", figure, "flaws per response, by trigger", "half")
        )
    rows = [
        row(
            f"{number}\N{EN SPACE}{words}",
            *(rate(each.triggers[number]) for each in suites.values()),
            rate(macro.triggers[number]),
        )
        for number, words in TRIGGER_NAMES.items()
    ]
    rows += [
        row(
            f"{group}, flaws per response", *(_load(each, category) for each in suites.values()), _load(macro, category)
        )
        for category, group in CATEGORY_NAMES.items()
    ]
    heads = columns("Trigger", *map(suite_name, suites), "Macro average")
    table = Table(
        "figure-2", f"Flaws of {native.name} by benchmark", heads, tuple(rows), "share of responses, 95% interval"
    )
    return Exhibit("figure-2", title, about, paper.where, (table,), tuple(charts), says=says)


def figure_7(lineages: Sequence[Lineage]) -> Exhibit:
    """Flaws of both categories from stage to stage, by benchmark (appendix F)."""
    paper = published().figure_7
    charts: list[Chart] = []
    tables: list[Table] = []
    gaps: list[Gap] = []
    for index, lineage in enumerate(lineages, 1):
        suffix = "" if len(lineages) == 1 else f"-{index}"
        with_flaws = [arm for arm in lineage.arms if arm.flaws is not None]
        without = [arm for arm in lineage.arms if arm.flaws is None]
        gaps += _no_flaws(without) if without else ()
        if len(with_flaws) < 2:
            continue
        panels = _panels(with_flaws)
        highest = highest_load([flaws for _, each in panels for flaws in each])
        charts += [
            Chart(f"figure-7{suffix}-{place}", name, evolution(with_flaws, flaws, highest), width="third")
            for place, (name, flaws) in enumerate(panels, 1)
        ]
        tables.append(_evolution_table(f"figure-7{suffix}", lineage, with_flaws, panels))
    if not charts and not gaps:
        gaps.append(Gap("only one stage is evaluated", "calm report RUN RUN RUN --out DIRECTORY"))
    about = "Flaws per response of the two categories, from stage to stage."
    says = f"{paper.says} {NO_VALUES}"
    title = "Figure 7: flaws by benchmark and stage"
    return Exhibit(
        "figure-7", title, about, paper.where, tuple(tables), tuple(charts), tuple(gaps), says=says, categories=True
    )


def _panels(arms: Sequence[Arm]) -> list[tuple[str, list[FlawSummary]]]:
    """By suite that every arm has, the flaws of each arm; the macro average last."""
    every = [arm.flaws for arm in arms if arm.flaws is not None]
    common = [suite for suite in every[0].suites if all(suite in each.suites for each in every)]
    panels = [(suite_name(suite), [each.suites[suite] for each in every]) for suite in sorted(common, key=suite_rank)]
    if len(panels) > 1:
        panels.append(("Macro average", [each.macro for each in every]))
    return panels


def _evolution_table(
    key: str, lineage: Lineage, arms: Sequence[Arm], panels: Sequence[tuple[str, list[FlawSummary]]]
) -> Table:
    rows: list[Row] = []
    for name, flaws in panels:
        for category, group in CATEGORY_NAMES.items():
            rows.append(row(group, *(_load(each, category) for each in flaws), group=name))
    title = f"Flaws by benchmark and stage{f', {lineage.name}' if lineage.name else ''}"
    heads = columns("Category", *(arm.name for arm in arms))
    return Table(key, title, heads, tuple(rows), "flaws per response, 95% interval clustered by problem")


def _load(flaws: FlawSummary, category: str) -> Cell:
    load: Rate = flaws.loads[category]
    return number(load.mean, 2, load.ci95)


def _no_flaws(arms: Sequence[Arm]) -> tuple[Gap, ...]:
    reports = list(dict.fromkeys(run_argument(arm.report) for arm in arms))
    if not arms:
        return (Gap("no model is evaluated", "calm eval --problems NAME --reasoner NAME --run RUN"),)
    return tuple(
        Gap(f"{name}: its responses were not searched for flaws", f"calm flaws --run {name} --keep") for name in reports
    )
