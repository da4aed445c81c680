"""Exhibits made of flaws: figures 2 and 7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from calmstorm.evaluation import FlawSummary
from calmstorm.report.arms import Arm, Lineage, run_argument
from calmstorm.report.charts.lines import CATEGORIES, CATEGORY_KEYS, evolution
from calmstorm.report.charts.rows import category_by_suite, trigger_frequencies
from calmstorm.report.exhibits.exhibit import Chart, Exhibit, Gap, suffixed
from calmstorm.report.published import published, suite_name
from calmstorm.report.run_tables import MACRO, trigger_rows
from calmstorm.report.tables import Table, columns, load, rate, row

Panels = dict[str, dict[str, FlawSummary]]
"""Flaws by name of the suite and of the arm."""


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
        tables.append(_evolution_table(f"figure-7{suffix}", title, panels))
    if not charts and not gaps:
        gaps.append(Gap("only one stage is evaluated", "calm report RUN RUN RUN --out DIRECTORY"))
    legend = CATEGORY_KEYS if charts else ()
    return Exhibit(published().figure_7, tables, charts, gaps, legend)


def _panels(arms: Sequence[Arm]) -> Panels:
    """By suite that every arm with flaws has, the flaws of each arm; the macro average last."""
    searched = {arm.name: arm.flaws for arm in arms if arm.flaws is not None}
    first, *others = searched.values()
    common = [suite for suite in first.suites if all(suite in flaws.suites for flaws in others)]
    panels = {suite_name(suite): {name: flaws.suites[suite] for name, flaws in searched.items()} for suite in common}
    if len(panels) > 1:
        panels[MACRO] = {name: flaws.macro for name, flaws in searched.items()}
    return panels


def _evolution_table(key: str, title: str, panels: Mapping[str, Mapping[str, FlawSummary]]) -> Table:
    rows = [
        row(group.label, *(load(flaws.loads[group]) for flaws in panel.values()), group=name)
        for name, panel in panels.items()
        for group in CATEGORIES
    ]
    heads = columns("Category", *next(iter(panels.values()), {}))
    return Table(key, title, heads, tuple(rows), "flaws per response, 95% interval clustered by problem")


def _unsearched(arms: Sequence[Arm]) -> list[Gap]:
    if not arms:
        return [Gap("no model is evaluated", "calm eval --problems NAME --reasoner NAME --run RUN")]
    runs = dict.fromkeys(run_argument(arm.report) for arm in arms)
    return [
        Gap(f"{run}: its responses were not searched for flaws", f"calm flaws --responses {run} --keep") for run in runs
    ]
