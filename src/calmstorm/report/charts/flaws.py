"""Charts of flaws: rates of the triggers, and how many flaws of each category a response has."""

from __future__ import annotations

from collections.abc import Sequence

from calmstorm.evaluation import FlawSummary, Rate
from calmstorm.report.arms import Arm
from calmstorm.report.charts.layout import (
    GROUP_COLOURS,
    TRIGGER_LABELS,
    Figure,
    axis,
    base_layout,
    label,
    legend,
    narrow,
    note,
    rows_layout,
    wrapped,
)
from calmstorm.report.published import suite_name
from calmstorm.report.triggers import TRIGGER_GROUPS

CATEGORY_NAMES = {"code": "Code utilisation distrust", "expertise": "Lack of OR expertise"}
"""The paper's two categories (`calmstorm.evaluation.flaw_rates.CATEGORIES`) as the report writes them."""


def flaw_rates(arms: Sequence[Arm]) -> Figure:
    """Share of responses that show each trigger: one row per trigger, one mark with interval per arm within it."""
    drawn = [(arm, arm.flaws.all) for arm in arms if arm.flaws is not None]
    highest = max((rate.ci95[1] for _, flaws in drawn for rate in flaws.triggers.values()), default=0.0)
    data = []
    for order, (arm, flaws) in enumerate(drawn):
        shift = 0.68 * ((order + 0.5) / len(drawn) - 0.5)
        places = [number + shift for number in range(1, 8)]
        data.append(_rates(label(arm.name), arm.colour, arm.symbol, places, list(flaws.triggers.values())))
    layout = rows_layout(TRIGGER_LABELS, left=256, row=max(44, 16 * len(drawn))) | {"showlegend": len(drawn) > 1}
    layout |= {"legend": legend()}
    layout["margin"] |= {"t": 40, "b": 40}
    _share_axis(layout, highest)
    return {"data": data, "layout": layout, "narrow": narrow(TRIGGER_LABELS)}


def trigger_frequencies(flaws: FlawSummary) -> Figure:
    """Figure 2 (1): macro-average rate of each trigger, coloured by category."""
    data = []
    for group, numbers in TRIGGER_GROUPS.items():
        rates = [flaws.triggers[number] for number in numbers]
        data.append(_rates(group, GROUP_COLOURS[group], "circle", [float(number) for number in numbers], rates))
    layout = rows_layout(TRIGGER_LABELS, left=256)
    _share_axis(layout, max(rate.ci95[1] for rate in flaws.triggers.values()))
    return {"data": data, "layout": layout, "narrow": narrow(TRIGGER_LABELS)}


def category_by_suite(suites: dict[str, FlawSummary], category: str) -> Figure:
    """Figure 2 (2a), (2b): flaws of a category per response, by suite, stacked by trigger, the mean at the end."""
    group = CATEGORY_NAMES[category]
    names = [suite_name(suite) for suite in suites]
    places = list(range(1, len(names) + 1))
    data = []
    for shade, number in zip((1.0, 0.65, 0.35), TRIGGER_GROUPS[group], strict=True):
        rates = [flaws.triggers[number].mean for flaws in suites.values()]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": TRIGGER_LABELS[number - 1],
                "y": places,
                "x": rates,
                "opacity": shade,
                "marker": {"color": GROUP_COLOURS[group], "line": {"width": 1, "color": "--ground"}},
                "hovertemplate": "%{x:.3f}<extra>" + TRIGGER_LABELS[number - 1] + "</extra>",
            }
        )
    loads = [flaws.loads[category] for flaws in suites.values()]
    layout = rows_layout([label(name) for name in names], left=150, row=34) | {"barmode": "stack", "showlegend": True}
    layout["legend"] = legend() | {"traceorder": "normal"}
    layout |= {"height": 34 * len(names) + 130, "bargap": 0.3}
    layout["margin"] |= {"t": 78, "r": 124}
    layout["annotations"] = [
        note(_load(load), x=1, y=place, xanchor="left", xshift=8) for place, load in zip(places, loads, strict=True)
    ]
    highest = max((load.mean for load in loads), default=0.0)
    layout["xaxis"] |= {"range": [0, max(0.05, highest * 1.05)], "showgrid": True, "nticks": 5, "zeroline": True}
    layout["xaxis"] |= {"zerolinecolor": "--rule-strong"}
    return {"data": data, "layout": layout, "narrow": narrow(names) | {"margin": {"l": 104, "r": 126}}}


def evolution(
    arms: Sequence[Arm], flaws: Sequence[FlawSummary], highest: float, *, with_legend: bool = False
) -> Figure:
    """Figures 6 (d) and 7: flaws of both categories per response, from arm to arm."""
    places = list(range(len(arms)))
    data = []
    for shift, (category, group) in zip((-0.04, 0.04), CATEGORY_NAMES.items(), strict=True):  # apart, so that both show
        loads = [each.loads[category] for each in flaws]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": group,
                "x": [place + shift for place in places],
                "y": [load.mean for load in loads],
                "text": [_load(load) for load in loads],
                "error_y": {
                    "type": "data",
                    "symmetric": False,
                    "array": [load.ci95[1] - load.mean for load in loads],
                    "arrayminus": [load.mean - load.ci95[0] for load in loads],
                    "thickness": 1.5,
                    "width": 4,
                    "color": GROUP_COLOURS[group],
                },
                "line": {"color": GROUP_COLOURS[group], "dash": "solid" if category == "code" else "dash"},
                "marker": {
                    "size": 8,
                    "color": GROUP_COLOURS[group],
                    "symbol": "circle" if category == "code" else "square",
                },
                "cliponaxis": False,
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    layout = base_layout() | {"height": 220, "margin": {"l": 40, "r": 16, "t": 8, "b": 44}}
    if with_legend:
        layout |= {"height": 252, "showlegend": True, "legend": legend()}
        layout["margin"] |= {"t": 40}
    layout["xaxis"] = axis() | ticks_between([arm.name for arm in arms])
    layout["yaxis"] = axis() | {"range": [0, max(0.05, 1.08 * highest)], "showgrid": True, "nticks": 5}
    return {"data": data, "layout": layout}


def ticks_between(names: list[str]) -> Figure:
    """A category axis whose first and last ticks do not stand on the edges."""
    places = list(range(len(names)))
    lines = [wrapped(name, 14) for name in names]
    shown = {"tickmode": "array", "tickvals": places, "ticktext": lines, "tickangle": 0, "automargin": False}
    return shown | {"range": [-0.45, len(names) - 0.55]}


def _load(load: Rate) -> str:
    return f"<b>{load.mean:.2f}</b>  [{load.ci95[0]:.2f}, {load.ci95[1]:.2f}]"


def _share_axis(layout: Figure, highest: float) -> None:
    layout["xaxis"] |= {"range": [0, max(0.05, highest * 1.08)], "tickformat": ".0%", "nticks": 6, "showgrid": True}
    layout["xaxis"] |= {"zeroline": True, "zerolinecolor": "--rule-strong"}


def _rates(name: str, colour: str, symbol: str, places: Sequence[float], rates: Sequence[Rate]) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [rate.mean for rate in rates],
        "y": list(places),
        "text": [f"{100 * rate.mean:.1f}%  [{100 * rate.ci95[0]:.1f}, {100 * rate.ci95[1]:.1f}]" for rate in rates],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [rate.ci95[1] - rate.mean for rate in rates],
            "arrayminus": [rate.mean - rate.ci95[0] for rate in rates],
            "thickness": 2,
            "width": 4,
            "color": colour,
        },
        "marker": {"size": 9, "symbol": symbol, "color": colour},
        "cliponaxis": False,
        "hovertemplate": "%{text}<extra></extra>",
    }


def highest_load(flaws: Sequence[FlawSummary]) -> float:
    """The upper end of all intervals, so that panels can share an axis."""
    return max((load.ci95[1] for each in flaws for load in each.loads.values()), default=0.0)
