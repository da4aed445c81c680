"""Charts of lines: training step by step, and flaws from stage to stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from calmstorm.evaluation import FlawSummary
from calmstorm.records import TriggerGroup
from calmstorm.report.charts.layout import GROUP_COLOURS, Figure, PlotlyDict, Series, label, ticks, wrapped
from calmstorm.report.numbers import HeldOutNumbers, TrainingStep
from calmstorm.report.tables import load, share

CATEGORIES = (TriggerGroup.CODE, TriggerGroup.EXPERTISE)
"""The paper's two categories of flaws; the third group is in neither."""
CATEGORY_KEYS = tuple(
    Series(group.label, GROUP_COLOURS[group], dash) for group, dash in zip(CATEGORIES, ("solid", "dash"), strict=True)
)


def training(curves: Sequence[tuple[Series, Sequence[TrainingStep]]], quantity: str) -> Figure:
    """One quantity per training step: every step as a dot, a running mean as a line."""
    is_share = quantity == "reward"
    shown = "step %{x}: %{y:" + (".0%" if is_share else ".3~g") + "}"
    data = []
    for curve, log in curves:
        points = [(step["step"], value) for step in log if (value := step.get(quantity)) is not None]
        steps, values = [step for step, _ in points], [value for _, value in points]
        window = max(1, len(values) // 8)
        dots = {
            "mode": "markers",
            "x": steps,
            "y": values,
            "marker": {"size": 5, "color": curve.colour, "opacity": 0.4},
            "hovertemplate": f"{shown}<extra></extra>",
        }
        mean = {
            "mode": "lines",
            "name": label(curve.name),
            "x": steps,
            "y": [fmean(values[max(0, place - window) : place + window + 1]) for place in range(len(values))],
            "line": {"width": 2.5, "color": curve.colour, "dash": curve.symbol},
            "hovertemplate": f"{shown}<extra>mean of {2 * window + 1} steps</extra>",
        }
        data += [dots, mean]
    title = {"text": "step", "font": {"size": 13, "color": "--ink-2"}, "standoff": 6}
    yaxis = {"range": [0, 1.03], "tickformat": ".0%", "dtick": 0.25} if is_share else {}
    legend = tuple(curve for curve, _ in curves) if len(curves) > 1 else ()
    return _chart(data, {"title": title, "rangemode": "tozero", "nticks": 6}, yaxis, legend)


def held_out_accuracy(curves: Sequence[tuple[Series, Sequence[HeldOutNumbers]]]) -> Figure:
    """Figure 6 (a): accuracy on held-out problems along training, each with its interval."""
    data = []
    for curve, evaluations in curves:
        cells = {
            float(each.step): share(each.pass_at_1, each.ci95) for each in evaluations if each.pass_at_1 is not None
        }
        marks = Series(curve.name, curve.colour, "circle", cells).marks("y", size=6)
        data.append(marks | {"mode": "lines+markers", "line": {"color": curve.colour, "dash": curve.symbol}})
    title = {"text": "step", "font": {"size": 13, "color": "--ink-2"}, "standoff": 6}
    yaxis = {"range": [0, 1.03], "tickformat": ".0%", "dtick": 0.25}
    legend = tuple(curve for curve, _ in curves) if len(curves) > 1 else ()
    return _chart(data, {"title": title, "rangemode": "tozero", "nticks": 6}, yaxis, legend)


def evolution(panels: Sequence[Mapping[str, FlawSummary]], legend: tuple[Series, ...] = ()) -> list[Figure]:
    """Figures 6 (d) and 7: flaws of both categories per response, from model to model, on axes of one length.

    Args:
        panels: For each chart the flaws of each model, by its name.
        legend: Of each chart.
    """
    loads = [load for flaws in panels for summary in flaws.values() for load in summary.loads.values()]
    yaxis = {"range": [0, max(0.05, *(1.08 * load.ci95[1] for load in loads))]}
    figures = []
    for flaws in panels:
        data = []
        for group, key, symbol, shift in zip(CATEGORIES, CATEGORY_KEYS, ("circle", "square"), (-1, 1), strict=True):
            cells = {place + 0.04 * shift: load(summary.loads[group]) for place, summary in enumerate(flaws.values())}
            marks = Series(key.name, key.colour, symbol, cells).marks("y", size=6)
            data.append(marks | {"mode": "lines+markers", "line": {"color": key.colour, "dash": key.symbol}})
        names = ticks({place: wrapped(name, 11) for place, name in enumerate(flaws)})
        font = {"tickangle": 0, "tickfont": {"color": "--ink-2", "size": 12}}
        figures.append(_chart(data, {**names, **font, "range": [-0.45, len(flaws) - 0.55]}, yaxis, legend))
    return figures


def _chart(data: list[PlotlyDict], xaxis: PlotlyDict, yaxis: PlotlyDict, legend: tuple[Series, ...]) -> Figure:
    yaxis = {"rangemode": "tozero", "showgrid": True, "nticks": 5} | yaxis
    return Figure(data, {"height": 230, "xaxis": xaxis, "yaxis": yaxis}, legend=legend)
