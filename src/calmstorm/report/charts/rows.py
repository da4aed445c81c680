"""Charts of named rows: forest plots, ours filled with intervals, the paper's hollow; and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calmstorm.evaluation import FlawSummary
from calmstorm.records import Trigger, TriggerGroup
from calmstorm.report.arms import SYMBOLS, Arm, suites_of
from calmstorm.report.charts.layout import (
    GRID,
    GROUP_COLOURS,
    HIDDEN,
    PUBLISHED,
    TRIGGER_PLACES,
    Figure,
    PlotlyDict,
    Series,
    cells_of,
    rows_chart,
    share_axis,
)
from calmstorm.report.numbers import CurationNumbers
from calmstorm.report.published import PublishedScores, published, suite_name
from calmstorm.report.tables import Cell, load, number, rate, share


@dataclass(frozen=True)
class Point:
    """One row of a forest plot."""

    name: str
    cell: Cell
    colour: str
    symbol: str


def arm_points(arms: Sequence[Arm], suite: str | None = None) -> list[Point]:
    """Returns the points of the arms that have a number on a suite; without one, their macro averages."""
    return [
        Point(arm.name, share(result.pass_at_1, result.ci95, 0), arm.colour, arm.symbol)
        for arm in arms
        if (result := arm.score(suite)) is not None and result.pass_at_1 is not None
    ]


def published_points(rows: Sequence[PublishedScores], suite: str | None = None, *, staged: bool = False) -> list[Point]:
    """Returns the same of the paper's rows, which are stages of one model, or models."""
    symbols = SYMBOLS if staged else ["circle"] * len(rows)
    return [
        Point(f"Paper: {row.model}" if staged else row.model, share(score, digits=0), PUBLISHED, f"{symbol}-open")
        for row, symbol in zip(rows, symbols, strict=False)
        if (score := row.score(suite)) is not None
    ]


def accuracy(arms: Sequence[Arm]) -> Figure:
    """Pass@1 with its 95 % interval, one row per suite and arm, the macro averages last."""
    suites = suites_of(arms)
    blocks = {suite_name(suite): arm_points(arms, suite) for suite in suites}
    return forest(blocks | {"macro average": arm_points(arms)} if len(suites) > 1 else blocks)


def forest(blocks: Mapping[str, Sequence[Point]]) -> Figure:
    """A forest plot: a mark with its interval in each row, its number in the margin; rows stand under headings."""
    names, headings = {}, []
    series: dict[tuple[str, str], Series] = {}
    place = 0.0
    for heading, block in blocks.items():
        names[place] = heading
        headings.append(place)
        for point in block:
            place += 1
            names[place] = point.name
            marked = series.setdefault((point.colour, point.symbol), Series(point.name, point.colour, point.symbol))
            marked.cells[place] = point.cell
        place += 1.5
    data = [marked.marks(size=11) for marked in series.values()]
    axis = share_axis(1) | {"dtick": 0.25}
    return rows_chart(data, names, cells_of(series.values()), xaxis=axis, headings=headings, pixels=27)


def flaw_rates(arms: Sequence[Arm]) -> Figure:
    """Share of responses that show each trigger: one row per trigger, one mark with interval per arm within it."""
    searched = [(arm, arm.flaws.all) for arm in arms if arm.flaws is not None]
    series = []
    for order, (arm, flaws) in enumerate(searched):
        shift = 0.68 * ((order + 0.5) / len(searched) - 0.5)
        cells = {trigger + shift: rate(flaws.triggers[trigger]) for trigger in Trigger}
        series.append(Series(arm.name, arm.colour, arm.symbol, cells))
    axis = _rate_axis([flaws for _, flaws in searched])
    pixels = max(44, 16 * len(series))
    data = [marked.marks() for marked in series]
    return rows_chart(data, TRIGGER_PLACES, xaxis=axis, pixels=pixels, legend=series if len(series) > 1 else ())


def trigger_frequencies(flaws: FlawSummary) -> Figure:
    """Figure 2 (1): rate of each trigger, coloured by category."""
    series = _by_group({trigger: rate(flaws.triggers[trigger]) for trigger in Trigger})
    data = [marked.marks() for marked in series]
    return rows_chart(data, TRIGGER_PLACES, cells_of(series), xaxis=_rate_axis([flaws]))


def _rate_axis(flaws: Sequence[FlawSummary]) -> PlotlyDict:
    highest = max(rate.ci95[1] for summary in flaws for rate in summary.triggers.values())
    return share_axis(max(0.05, highest * 1.08))


def _by_group(cells: Mapping[Trigger, Cell]) -> list[Series]:
    return [
        Series(group.label, colour, "circle", {float(trigger): cells[trigger] for trigger in group.triggers})
        for group, colour in GROUP_COLOURS.items()
    ]


def category_by_suite(suites: Mapping[str, FlawSummary], group: TriggerGroup) -> Figure:
    """Figure 2 (2a), (2b): flaws of a category per response, by suite, stacked by trigger, the mean in the margin."""
    legend, data = [], []
    for shade, trigger in zip((1.0, 0.65, 0.35), group.triggers, strict=True):
        cells = {float(place): number(flaws.triggers[trigger].mean) for place, flaws in enumerate(suites.values())}
        stacked = Series(TRIGGER_PLACES[trigger], GROUP_COLOURS[group], cells=cells, opacity=shade)
        legend.append(stacked)
        data.append(stacked.bars() | {"hoverinfo": "all", "hovertemplate": f"%{{x:.3f}}<extra>{stacked.name}</extra>"})
    means = {float(place): load(flaws.loads[group]) for place, flaws in enumerate(suites.values())}
    names = dict(zip(means, map(suite_name, suites), strict=True))
    axis = {"range": [0, max(0.05, *(1.05 * mean.number for mean in means.values()))], "nticks": 5, **GRID}
    return rows_chart(data, names, means, xaxis=axis, pixels=34, legend=legend, barmode="stack")


def funnel(curation: CurationNumbers) -> Figure:
    """Attempts that survive each step of curation."""
    steps = {
        "Attempts": (curation.attempts, "--mark-quiet"),
        "Correct before hints": (curation.correct_before_count, "--mark-quiet"),
        "Correct after hints": (curation.correct_after_count, "--mark"),
        "Golden: correct and flawless": (curation.golden, "--golden"),
    }
    series = []
    for place, (name, (count, colour)) in enumerate(steps.items()):
        part = share(count / curation.attempts, digits=0).shown
        series.append(Series(name, colour, cells={float(place): Cell(count, f"{count:,}", bounds=f"({part})")}))
    names = dict(zip(cells_of(series), steps, strict=True))
    axis = {"range": [0, curation.attempts], **HIDDEN}
    return rows_chart([step.bars() for step in series], names, cells_of(series), xaxis=axis)


def interventions(curation: CurationNumbers) -> Figure:
    """Interventions per trigger, in the paper's three groups."""
    series = _by_group({trigger: number(curation.triggers[trigger]) for trigger in Trigger})
    axis = {"range": [0, max(1, *curation.triggers.values())], **HIDDEN}
    data = [group.bars() for group in series]
    return rows_chart(data, TRIGGER_PLACES, cells_of(series), xaxis=axis, legend=series)


def selection(curation: CurationNumbers) -> Figure:
    """Figure 5: shares of all examples that are correct before and after the hints, and golden."""
    paper = published().figure_5
    counts = (curation.correct_before_count, curation.correct_after_count, curation.golden)
    ours = [count / curation.attempts for count in counts]
    theirs = [paper.success_before / 100, paper.correct / paper.raw, paper.golden / paper.raw]
    series = [
        Series(name, colour, symbol, {place + shift: share(value, digits=0) for place, value in enumerate(values)})
        for name, colour, symbol, shift, values in (
            ("This run", "--mark", "square", -0.2, ours),
            ("Published", PUBLISHED, "square-open", 0.2, theirs),
        )
    ]
    names = {0.0: "Correct before", 1.0: "Correct after", 2.0: "Golden"}
    axis = {"range": [0, 1], **HIDDEN}
    data = [bars.bars() for bars in series]
    return rows_chart(data, names, cells_of(series), xaxis=axis, pixels=58, legend=series, bargap=0.15)
