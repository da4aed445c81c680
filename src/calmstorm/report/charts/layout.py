"""What the report's charts have in common: plain dicts for plotly, ready for JSON.

Colours are written as names of CSS variables ("--arm-1"); the page resolves them, so that the same figure is drawn in
the light and in the dark theme. Bars start at zero, accuracy axes span 0 to 100 %, intervals are drawn, and values
stand beside their marks. Beside plotly's `data` and `layout`, a figure has `narrow`: what the page overrides on a
phone. Text that comes from the run is escaped for plotly's own pseudo-HTML before it enters a figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from textwrap import wrap
from typing import Any

from calmstorm.report.tables import UNKNOWN
from calmstorm.report.triggers import TRIGGER_GROUPS, TRIGGER_NAMES

Figure = dict[str, Any]

PUBLISHED = "--published"
"""Colour of the paper's numbers, which are drawn hollow as well."""
GROUP_COLOURS = dict(zip(TRIGGER_GROUPS, ("--group-code", "--group-or", "--group-protocol"), strict=True))
LABEL_LENGTH = 30
"""Characters of a name that an axis has room for."""
TRIGGER_LABELS = [f"{int(trigger)}  {name}" for trigger, name in TRIGGER_NAMES.items()]


def label(text: object) -> str:
    """Text of the run, safe inside a figure, short enough for an axis."""
    return escape(_short(text))


def wrapped(text: object, width: int) -> str:
    """The same on up to three lines."""
    return "<br>".join(escape(line) for line in wrap(_short(text, 3 * width), width))


def _short(text: object, length: int = LABEL_LENGTH) -> str:
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))
    return plain if len(plain) <= length else plain[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def percent(share: float | None) -> str:
    """A share as people read it."""
    return UNKNOWN if share is None else f"{100 * share:.0f}%"


def with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """A share and its interval, for the margin of a chart."""
    if value is None or interval is None:
        return percent(value)
    return f"<b>{percent(value)}</b>  [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]"


def note(text: str, *, x: float, y: float, xanchor: str, xshift: int) -> Figure:
    """A text in the margin, at the height of a row."""
    place = {"x": x, "y": y, "xref": "paper", "yref": "y", "xanchor": xanchor, "yanchor": "middle", "xshift": xshift}
    return {"text": text, "showarrow": False, "font": {"size": 13, "color": "--ink"}} | place


def axis() -> Figure:
    """An axis without lines or grid."""
    return {
        "showgrid": False,
        "gridcolor": "--rule",
        "zeroline": False,
        "fixedrange": True,
        "tickfont": {"color": "--ink-2"},
        "ticks": "",
        "ticklabelstandoff": 6,
    }


def legend() -> Figure:
    """A legend above the chart."""
    return {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left", "itemclick": False}


def base_layout() -> Figure:
    """What all charts share."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "--font", "size": 13, "color": "--ink"},
        "hoverlabel": {"bgcolor": "--raised", "bordercolor": "--rule-strong", "font": {"color": "--ink"}},
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
        "bargap": 0.38,
        "xaxis": axis(),
        "yaxis": axis(),
    }


def ticks(positions: list[float], texts: list[str]) -> Figure:
    """Ticks at given places."""
    return {
        "autorange": False,
        "tickmode": "array",
        "tickvals": positions,
        "ticktext": texts,
        "tickfont": {"color": "--ink"},
        "ticklabelstandoff": 10,
    }


def rows_layout(names: list[str], *, left: int, row: int = 40) -> Figure:
    """Layout of a chart with one named row per unit of y, the first on top."""
    layout = base_layout()
    layout["height"] = len(names) * row + 56
    layout["margin"] = {"l": left, "r": 16, "t": 12, "b": 34}
    layout["yaxis"] |= ticks([float(number) for number in range(1, len(names) + 1)], names)
    layout["yaxis"] |= {"range": [len(names) + 0.5, 0.5]}
    return layout


def narrow(names: Sequence[str]) -> Figure:
    """What changes in such a chart on a phone: row names in smaller type, on several lines."""
    lines = [wrapped(name, 17) for name in names]
    return {"margin": {"l": 124}, "yaxis": {"ticktext": lines, "tickfont": {"color": "--ink", "size": 11}}}
