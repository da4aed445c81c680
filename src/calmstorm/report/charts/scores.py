"""Charts of accuracy: forest plots, ours with intervals and filled, the paper's hollow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calmstorm.report.arms import Arm, suites_of
from calmstorm.report.charts.layout import (
    LABEL_LENGTH,
    PUBLISHED,
    Figure,
    base_layout,
    label,
    note,
    ticks,
    with_interval,
    wrapped,
)
from calmstorm.report.published import suite_name


@dataclass(frozen=True)
class Point:
    """One row of a forest plot."""

    name: str
    value: float
    """0..1."""
    interval: Sequence[float] | None
    colour: str
    symbol: str
    published: bool = False


@dataclass(frozen=True)
class Block:
    """Rows under a heading."""

    name: str
    points: tuple[Point, ...]


def point(arm: Arm, cell: dict[str, Any] | None) -> Point | None:
    """The row of an arm, if it has a number there."""
    if cell is None or cell["pass_at_1"] is None:
        return None
    return Point(arm.name, cell["pass_at_1"], cell["ci95"], arm.colour, arm.symbol)


def published_point(name: str, percent: float, symbol: str = "circle") -> Point:
    """A row of the paper's."""
    return Point(name, percent / 100, None, PUBLISHED, f"{symbol}-open", published=True)


def accuracy(arms: Sequence[Arm]) -> Figure:
    """Pass@1 with its 95 % interval, one row per suite and arm, the macro averages last."""
    suites = suites_of(arms)
    blocks = [_block(suite_name(suite), [point(arm, arm.cells.get(suite)) for arm in arms]) for suite in suites]
    if len(suites) > 1:
        blocks.append(_block("macro average", [point(arm, arm.macro) for arm in arms]))
    return forest(blocks)


def _block(name: str, points: list[Point | None]) -> Block:
    return Block(name, tuple(each for each in points if each is not None))


def forest(blocks: Sequence[Block]) -> Figure:
    """A forest plot: a marker with its interval in each row, its number in the margin."""
    notes: list[Figure] = []
    marks: list[tuple[float, str]] = []
    rows: dict[tuple[str, str], list[tuple[float, Point]]] = {}
    height = 0.0
    for block in blocks:
        notes.append(note(f"<b>{label(block.name)}</b>", x=0, y=height, xanchor="right", xshift=-10))
        height += 1
        for each in block.points:
            rows.setdefault((each.colour, each.symbol), []).append((height, each))
            marks.append((height, each.name))
            notes.append(note(with_interval(each.value, each.interval), x=1, y=height, xanchor="left", xshift=8))
            height += 1
        height += 0.5
    names = [block.name for block in blocks] + [each.name for block in blocks for each in block.points]
    left = 24 + 8 * max(12, *(min(len(name), LABEL_LENGTH) for name in names))
    layout = base_layout() | {"height": int(27 * height) + 56, "margin": {"l": left, "r": 130, "t": 12, "b": 34}}
    layout["xaxis"] |= {"range": [0, 1], "tickformat": ".0%", "dtick": 0.25, "showgrid": True}
    layout["xaxis"] |= {"zeroline": True, "zerolinecolor": "--rule-strong"}
    layout["yaxis"] |= ticks([position for position, _ in marks], [label(text) for _, text in marks])
    layout["yaxis"] |= {"range": [height - 0.5, -0.6]}
    lines = [wrapped(text, 16) for _, text in marks]
    small = {"ticktext": lines, "tickfont": {"color": "--ink", "size": 11}}
    narrow = {"margin": {"l": min(left, 130), "r": 96}, "xaxis": {"dtick": 0.5}, "yaxis": small}
    data = [_markers(points) for points in rows.values()]
    return {"data": data, "layout": layout | {"annotations": notes}, "narrow": narrow}


def _markers(points: list[tuple[float, Point]]) -> Figure:
    first = points[0][1]
    values = [each.value for _, each in points]
    bounds = [each.interval or [each.value] * 2 for _, each in points]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(first.name),
        "x": values,
        "y": [height for height, _ in points],
        "customdata": [
            with_interval(each.value, each.interval) + (" published" if each.published else "") for _, each in points
        ],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [bound[1] - value for bound, value in zip(bounds, values, strict=True)],
            "arrayminus": [value - bound[0] for bound, value in zip(bounds, values, strict=True)],
            "thickness": 2,
            "width": 5,
            "color": first.colour,
            "visible": not first.published,
        },
        "marker": {
            "size": 11,
            "symbol": first.symbol,
            "color": first.colour,
            "line": {"width": 2, "color": first.colour},
        },
        "cliponaxis": False,
        "hovertemplate": "%{customdata}<extra></extra>",
    }
