"""What the report's charts have in common.

Colours are written as names of CSS variables ("--arm-1"); the page resolves them, so that the same figure is drawn in
the light and in the dark theme. Bars start at zero, accuracy axes span 0 to 100 %, intervals are drawn. Nothing depends
on the width of a font: names and values are ticks of the left and the right axis, for which plotly makes room after
measuring them, and legends are part of the page. Text that comes from the run is escaped for plotly's own pseudo-HTML
before it enters a figure. What all traces and axes share is in `charts.js`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from textwrap import wrap
from typing import Any

from calmstorm.printable import printable
from calmstorm.records import Trigger, TriggerGroup
from calmstorm.report.tables import Cell

PlotlyDict = dict[str, Any]

PUBLISHED = "--published"
"""Colour of the paper's numbers, which are drawn hollow as well."""
GROUP_COLOURS = {group: f"--group-{group}" for group in TriggerGroup}
TRIGGER_PLACES = {float(trigger): f"{trigger:d}  {trigger.label}" for trigger in Trigger}
"""Rows of a chart of the seven triggers."""
LABEL_LENGTH = 40
"""Characters of a name that an axis has room for."""
NARROW_LENGTH = 17
"""Characters of a line of a name where there is little room."""


@dataclass(frozen=True)
class Series:
    """What is drawn in one colour, and its entry in the legend."""

    name: str
    colour: str
    symbol: str = "square"
    """Of its mark: a plotly symbol, or `solid` or `dash` for a line; `-open` is hollow."""
    cells: dict[float, Cell] = field(default_factory=dict)
    """What stands at each place of the axis of names."""
    opacity: float = 1.0

    def marks(self, values: str = "x", *, size: int = 9) -> PlotlyDict:
        """Returns the plotly trace of marks with their intervals, the values along one axis."""
        suffix = " published" if self.symbol.endswith("-open") else ""
        ends = [(cell.number, *(cell.interval or (cell.number, cell.number))) for cell in self.cells.values()]
        return {
            "mode": "markers",
            "name": label(self.name),
            values: [cell.number for cell in self.cells.values()],
            "y" if values == "x" else "x": list(self.cells),
            "text": [scored(cell) + suffix for cell in self.cells.values()],
            f"error_{values}": {
                "array": [high - value for value, _, high in ends],
                "arrayminus": [value - low for value, low, _ in ends],
                "color": self.colour,
            },
            "marker": {
                "size": size,
                "symbol": self.symbol,
                "color": self.colour,
                "line": {"color": self.colour, "width": 2},
            },
        }

    def bars(self) -> PlotlyDict:
        """Returns the plotly trace of bars to the right."""
        is_hollow = self.symbol.endswith("-open")
        return {
            "type": "bar",
            "name": label(self.name),
            "y": list(self.cells),
            "x": [cell.number for cell in self.cells.values()],
            "marker": {
                "color": "rgba(0,0,0,0)" if is_hollow else self.colour,
                "line": {"color": self.colour, "width": 1.5} if is_hollow else {"color": "--ground", "width": 1},
            },
            "opacity": self.opacity,
        }


@dataclass(frozen=True)
class Figure:
    """A chart as plotly draws it."""

    data: list[PlotlyDict]
    layout: PlotlyDict
    narrow: PlotlyDict = field(default_factory=dict)
    """What the page overrides where the chart has little room, by part of the layout."""
    legend: tuple[Series, ...] = ()

    @property
    def drawn(self) -> PlotlyDict:
        """What the page's script needs."""
        return {"data": self.data, "layout": self.layout, "narrow": self.narrow}


def label(text: str) -> str:
    """Returns text of the run, safe inside a figure, short enough for an axis."""
    return escape(_shortened(text, LABEL_LENGTH))


def wrapped(text: str, width: int = NARROW_LENGTH) -> str:
    """Returns the same on up to three lines."""
    return "<br>".join(escape(line) for line in wrap(_shortened(text, 3 * width), width))


def _shortened(text: str, length: int) -> str:
    line = " ".join(printable(text).split("\n"))
    return line if len(line) <= length else line[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def scored(cell: Cell) -> str:
    """Returns a value and its interval as they stand beside a mark."""
    return f"<b>{cell.shown}</b>  {cell.bounds}".rstrip()


def rows_chart(
    data: list[PlotlyDict],
    names: Mapping[float, str],
    values: Mapping[float, Cell] | None = None,
    *,
    xaxis: PlotlyDict,
    headings: Collection[float] = (),
    pixels: int = 40,
    legend: Sequence[Series] = (),
    **layout: object,
) -> Figure:
    """Returns a chart of named rows, the first on top.

    Args:
        data: What is drawn in the rows.
        names: Of the rows, by their place on the y axis.
        values: What stands to the right of the rows, by place.
        xaxis: What the x axis has beside the usual.
        headings: Places of names that stand above a group of rows.
        pixels: Height of a row.
        legend: What the colours mean.
        **layout: What the layout has beside the usual.
    """
    places = sorted(names)
    rows = places[-1] - places[0] + 1

    def texts(write: Callable[[str], str]) -> dict[float, str]:
        written = {place: write(name) for place, name in names.items()}
        return written | {place: f"<b>{written[place]}</b>" for place in headings}

    yaxis = {"range": [places[-1] + 0.5, places[0] - 0.5], "autorange": False} | ticks(texts(label))
    layout |= {"height": round(pixels * rows) + 46, "xaxis": xaxis, "yaxis": yaxis}
    small = {"tickfont": {"color": "--ink", "size": 11}}
    lines = texts(wrapped)
    most = max(text.count("<br>") for text in lines.values()) + 1
    narrow = {
        "height": round(max(pixels, 16 * most + 4) * rows) + 46,
        "xaxis": {"tickmode": "auto", "nticks": 3},
        "yaxis": ticks(lines) | small,
    }
    if values:
        shown = {place: scored(values[place]) for place in sorted(values)}
        layout["yaxis2"] = yaxis | ticks(shown) | {"overlaying": "y", "side": "right"}
        narrow["yaxis2"] = small
    return Figure(data, layout, narrow, tuple(legend))


def cells_of(series: Iterable[Series]) -> dict[float, Cell]:
    """Returns the cells of all series, where no two have the same place."""
    return {place: cell for member in series for place, cell in member.cells.items()}


def share_axis(highest: float) -> PlotlyDict:
    """Returns an axis of shares from 0."""
    return {"range": [0, highest], "tickformat": ".0%", "nticks": 6, **GRID}


GRID: PlotlyDict = {"showgrid": True, "zeroline": True, "zerolinecolor": "--rule-strong"}
HIDDEN: PlotlyDict = {"visible": False}


def ticks(texts: Mapping[float, str]) -> PlotlyDict:
    """Returns the ticks of an axis of names."""
    shown = {"tickmode": "array", "tickvals": list(texts), "ticktext": list(texts.values())}
    return shown | {"tickfont": {"color": "--ink"}, "ticklabelstandoff": 10}
