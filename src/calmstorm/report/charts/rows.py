"""Charts of named rows: forest plots, ours filled with intervals, the paper's hollow; and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calmstorm.evaluation import FlawSummary, Summary
from calmstorm.records import Trigger, TriggerGroup
from calmstorm.report.arms import Arm, suites_of
from calmstorm.report.charts.layout import (
    GRID,
    GROUP_COLOURS,
    HIDDEN,
    PUBLISHED,
    TRIGGER_PLACES,
    Figure,
    LegendKey,
    PlotlyDict,
    label,
    rows_chart,
    scored,
    share_axis,
    whiskers,
)
from calmstorm.report.numbers import CurationNumbers, MacroNumbers
from calmstorm.report.published import published, suite_name
from calmstorm.report.tables import Cell, load, rate, share


@dataclass(frozen=True)
class Point:
    """One row of a forest plot."""

    name: str
    cell: Cell
    colour: str
    symbol: str


def arm_points(arms: Sequence[Arm], suite: str | None = None) -> list[Point]:
    """Returns the points of the arms that have a number on a suite; without one, their macro averages."""
    points = []
    for arm in arms:
        result: Summary | MacroNumbers | None = arm.macro if suite is None else arm.cells.get(suite)
        if result is not None and result.pass_at_1 is not None:
            points.append(Point(arm.name, share(result.pass_at_1, result.ci95, 0), arm.colour, arm.symbol))
    return points


def published_point(name: str, percent: float, symbol: str = "circle") -> Point:
    """Returns a point of the paper's."""
    return Point(name, share(percent / 100, digits=0), PUBLISHED, f"{symbol}-open")


def accuracy(arms: Sequence[Arm]) -> Figure:
    """Pass@1 with its 95 % interval, one row per suite and arm, the macro averages last."""
    suites = suites_of(arms)
    blocks = {suite_name(suite): arm_points(arms, suite) for suite in suites}
    return forest(blocks | {"macro average": arm_points(arms)} if len(suites) > 1 else blocks)


def forest(blocks: Mapping[str, Sequence[Point]]) -> Figure:
    """A forest plot: a mark with its interval in each row, its number in the margin; rows stand under headings."""
    names, values = {}, {}
    series: dict[tuple[str, str], dict[float, Point]] = {}
    place = 0.0
    for heading, block in blocks.items():
        names[place] = heading
        for point in block:
            place += 1
            names[place], values[place] = point.name, scored(point.cell)
            series.setdefault((point.colour, point.symbol), {})[place] = point
        place += 1.5
    data = []
    for (colour, symbol), points in series.items():
        name = next(iter(points.values())).name
        data.append(_dots(name, colour, symbol, {place: point.cell for place, point in points.items()}, size=11))
    return rows_chart(
        data, names, values, xaxis=share_axis(1) | {"dtick": 0.25}, headings=set(names) - set(values), pixels=27
    )


def flaw_rates(arms: Sequence[Arm]) -> Figure:
    """Share of responses that show each trigger: one row per trigger, one mark with interval per arm within it."""
    searched = [(arm, arm.flaws.all) for arm in arms if arm.flaws is not None]
    data = []
    for order, (arm, flaws) in enumerate(searched):
        shift = 0.68 * ((order + 0.5) / len(searched) - 0.5)
        cells = {trigger + shift: rate(flaws.triggers[trigger]) for trigger in Trigger}
        data.append(_dots(arm.name, arm.colour, arm.symbol, cells))
    legend = [LegendKey(arm.name, arm.colour, arm.symbol) for arm, _ in searched]
    axis = _rate_axis([flaws for _, flaws in searched])
    pixels = max(44, 16 * len(searched))
    return rows_chart(data, TRIGGER_PLACES, xaxis=axis, pixels=pixels, legend=legend if len(legend) > 1 else ())


def trigger_frequencies(flaws: FlawSummary) -> Figure:
    """Figure 2 (1): rate of each trigger, coloured by category."""
    cells = {trigger: rate(flaws.triggers[trigger]) for trigger in Trigger}
    data = [
        _dots(
            group.label, GROUP_COLOURS[group], "circle", {float(trigger): cells[trigger] for trigger in group.triggers}
        )
        for group in TriggerGroup
    ]
    values = {float(trigger): scored(cell) for trigger, cell in cells.items()}
    return rows_chart(data, TRIGGER_PLACES, values, xaxis=_rate_axis([flaws]))


def _rate_axis(flaws: Sequence[FlawSummary]) -> PlotlyDict:
    highest = max(rate.ci95[1] for summary in flaws for rate in summary.triggers.values())
    return share_axis(max(0.05, highest * 1.08))


def category_by_suite(suites: Mapping[str, FlawSummary], group: TriggerGroup) -> Figure:
    """Figure 2 (2a), (2b): flaws of a category per response, by suite, stacked by trigger, the mean in the margin."""
    data, legend = [], []
    for shade, trigger in zip((1.0, 0.65, 0.35), group.triggers, strict=True):
        means = {float(place): flaws.triggers[trigger].mean for place, flaws in enumerate(suites.values())}
        line = {"width": 1, "color": "--ground"}
        data.append(
            _bars(TRIGGER_PLACES[trigger], means, {"color": GROUP_COLOURS[group], "line": line})
            | {"opacity": shade, "hovertemplate": "%{x:.3f}<extra>" + TRIGGER_PLACES[trigger] + "</extra>"}
        )
        legend.append(LegendKey(TRIGGER_PLACES[trigger], GROUP_COLOURS[group], opacity=shade))
    loads = [flaws.loads[group] for flaws in suites.values()]
    names = {float(place): suite_name(suite) for place, suite in enumerate(suites)}
    values = {float(place): scored(load(mean)) for place, mean in enumerate(loads)}
    axis = {"range": [0, max(0.05, 1.05 * max(mean.mean for mean in loads))], "nticks": 5, **GRID}
    figure = rows_chart(data, names, values, xaxis=axis, pixels=34, legend=legend)
    figure.layout["barmode"] = "stack"
    return figure


def funnel(curation: CurationNumbers) -> Figure:
    """Attempts that survive each step of curation."""
    steps = {
        "Attempts": (curation.attempts, "--mark-quiet"),
        "Correct before hints": (curation.correct_before_count, "--mark-quiet"),
        "Correct after hints": (curation.correct_after_count, "--mark"),
        "Golden: correct and flawless": (curation.golden, "--golden"),
    }
    counts = {float(place): count for place, (count, _) in enumerate(steps.values())}
    values = {
        place: f"<b>{count:,}</b>  ({share(count / curation.attempts, digits=0).shown})"
        for place, count in counts.items()
    }
    bars = _bars("Attempts", counts, {"color": [colour for _, colour in steps.values()]})
    names = dict(zip(counts, steps, strict=True))
    return rows_chart([bars], names, values, xaxis={"range": [0, curation.attempts], **HIDDEN})


def interventions(curation: CurationNumbers) -> Figure:
    """Interventions per trigger, in the paper's three groups."""
    data = [
        _bars(
            group.label,
            {float(trigger): curation.triggers[trigger] for trigger in group.triggers},
            {"color": GROUP_COLOURS[group]},
        )
        for group in TriggerGroup
    ]
    values = {float(trigger): f"<b>{curation.triggers[trigger]:,}</b>" for trigger in Trigger}
    axis = {"range": [0, max(1, *curation.triggers.values())], **HIDDEN}
    legend = [LegendKey(group.label, colour, "circle") for group, colour in GROUP_COLOURS.items()]
    return rows_chart(data, TRIGGER_PLACES, values, xaxis=axis, legend=legend)


def selection(curation: CurationNumbers) -> Figure:
    """Figure 5: shares of all examples that are correct before and after the hints, and golden."""
    paper = published().figure_5
    counts = (curation.correct_before_count, curation.correct_after_count, curation.golden)
    ours = [count / curation.attempts for count in counts]
    theirs = [paper.success_before / 100, paper.correct / paper.raw, paper.golden / paper.raw]
    hollow = {"color": "rgba(0,0,0,0)", "line": {"color": PUBLISHED, "width": 1.5}}
    data = [
        _bars("This run", {place - 0.2: value for place, value in enumerate(ours)}, {"color": "--mark"}),
        _bars("Published", {place + 0.2: value for place, value in enumerate(theirs)}, hollow),
    ]
    values = {
        place: share(value, digits=0).shown for bars in data for place, value in zip(bars["y"], bars["x"], strict=True)
    }
    for bars in data:
        bars["width"] = 0.34
    names = {0.0: "Correct before", 1.0: "Correct after", 2.0: "Golden"}
    legend = (LegendKey("This run", "--mark"), LegendKey("Published", PUBLISHED, "square-open"))
    return rows_chart(data, names, values, xaxis={"range": [0, 1], **HIDDEN}, pixels=58, legend=legend)


def _dots(name: str, colour: str, symbol: str, cells: Mapping[float, Cell], *, size: int = 9) -> PlotlyDict:
    values = [cell.number for cell in cells.values()]
    suffix = " published" if symbol.endswith("-open") else ""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(name),
        "x": values,
        "y": list(cells),
        "text": [scored(cell) + suffix for cell in cells.values()],
        "error_x": whiskers(values, [cell.interval for cell in cells.values()], colour),
        "marker": {"size": size, "symbol": symbol, "color": colour, "line": {"width": 2, "color": colour}},
        "cliponaxis": False,
        "hovertemplate": "%{text}<extra></extra>",
    }


def _bars(name: str, lengths: Mapping[float, float], marker: PlotlyDict) -> PlotlyDict:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "y": list(lengths),
        "x": list(lengths.values()),
        "marker": marker,
        "hoverinfo": "skip",
    }
