"""Charts of lines: training step by step, and flaws from stage to stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from calmstorm.evaluation import FlawSummary
from calmstorm.records import TriggerGroup
from calmstorm.report.charts.layout import (
    GROUP_COLOURS,
    Figure,
    LegendKey,
    PlotlyDict,
    label,
    lines_chart,
    named_ticks,
    scored,
    whiskers,
)
from calmstorm.report.numbers import TrainingStep
from calmstorm.report.tables import load

CATEGORIES = (TriggerGroup.CODE, TriggerGroup.EXPERTISE)
"""The paper's two categories of flaws; the third group is in neither."""
CATEGORY_KEYS = tuple(
    LegendKey(group.label, GROUP_COLOURS[group], dash)
    for group, dash in zip(CATEGORIES, ("solid", "dash"), strict=True)
)


@dataclass(frozen=True)
class Curve:
    """The steps of one training."""

    name: str
    steps: Sequence[TrainingStep]
    colour: str
    dash: str = "solid"
    """Repeats what colour says."""


def training(curves: Sequence[Curve], quantity: str, *, is_share: bool = False) -> Figure:
    """One quantity per training step: every step as a dot, a running mean as a line."""
    shown = "step %{x}: %{y:" + (".0%" if is_share else ".3~g") + "}"
    data = []
    for curve in curves:
        points = [(step["step"], value) for step in curve.steps if (value := step.get(quantity)) is not None]
        steps, values = [step for step, _ in points], [value for _, value in points]
        window = max(1, len(values) // 8)
        dots = {
            "type": "scatter",
            "mode": "markers",
            "x": steps,
            "y": values,
            "marker": {"size": 5, "color": curve.colour, "opacity": 0.4},
            "hovertemplate": f"{shown}<extra></extra>",
        }
        mean = {
            "type": "scatter",
            "mode": "lines",
            "name": label(curve.name),
            "x": steps,
            "y": [fmean(values[max(0, place - window) : place + window + 1]) for place in range(len(values))],
            "line": {"width": 2.5, "color": curve.colour, "dash": curve.dash},
            "hovertemplate": f"{shown}<extra>mean of {2 * window + 1} steps</extra>",
        }
        data += [dots, mean]
    title = {"text": "step", "font": {"size": 13, "color": "--ink-2"}, "standoff": 6}
    shares = {"range": [0, 1.03], "tickformat": ".0%", "dtick": 0.25}
    legend = [LegendKey(curve.name, curve.colour, curve.dash) for curve in curves] if len(curves) > 1 else ()
    xaxis = {"title": title, "rangemode": "tozero", "nticks": 6}
    return lines_chart(data, xaxis=xaxis, yaxis=shares if is_share else {}, legend=legend)


def evolution(flaws: Mapping[str, FlawSummary], highest: float, *, with_legend: bool = False) -> Figure:
    """Figures 6 (d) and 7: flaws of both categories per response, from model to model.

    Args:
        flaws: Of each model, by its name.
        highest: Upper end of the axis, see `highest_load`.
        with_legend: Name the categories below the chart.
    """
    data = [
        _category(group, key.shape, list(flaws.values())) for group, key in zip(CATEGORIES, CATEGORY_KEYS, strict=True)
    ]
    yaxis = {"range": [0, max(0.05, 1.08 * highest)]}
    legend = CATEGORY_KEYS if with_legend else ()
    return lines_chart(data, xaxis=named_ticks(list(flaws)), yaxis=yaxis, legend=legend)


def _category(group: TriggerGroup, dash: str, flaws: Sequence[FlawSummary]) -> PlotlyDict:
    is_first = group is CATEGORIES[0]
    loads = [summary.loads[group] for summary in flaws]
    means = [mean.mean for mean in loads]
    shift = -0.04 if is_first else 0.04  # apart, so that both show
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": group.label,
        "x": [place + shift for place in range(len(loads))],
        "y": means,
        "text": [scored(load(mean)) for mean in loads],
        "error_y": whiskers(means, [mean.ci95 for mean in loads], GROUP_COLOURS[group]),
        "line": {"color": GROUP_COLOURS[group], "dash": dash},
        "marker": {"size": 8, "color": GROUP_COLOURS[group], "symbol": "circle" if is_first else "square"},
        "cliponaxis": False,
        "hovertemplate": "%{text}<extra></extra>",
    }


def highest_load(flaws: Sequence[FlawSummary]) -> float:
    """Returns the upper end of all intervals, so that panels can share an axis."""
    return max((load.ci95[1] for summary in flaws for load in summary.loads.values()), default=0.0)
