"""Charts of curation and of training: what the hints came to, and how learning went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from calmstorm.report.charts.layout import (
    GROUP_COLOURS,
    TRIGGER_LABELS,
    Figure,
    axis,
    base_layout,
    label,
    legend,
    narrow,
    percent,
    rows_layout,
)
from calmstorm.report.triggers import TRIGGER_GROUPS


def funnel(curation: dict[str, Any]) -> Figure:
    """Attempts that survive each step of curation."""
    attempts = curation["attempts"]
    steps = [
        ("Attempts", attempts),
        ("Correct before hints", curation["correct_before_count"]),
        ("Correct after hints", curation["correct_after_count"]),
        ("Golden: correct and flawless", curation["golden"]),
    ]
    colours = ["--mark-quiet", "--mark-quiet", "--mark", "--golden"]
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": list(range(1, len(steps) + 1)),
        "x": [count for _, count in steps],
        "text": [f"{count:,}  ({percent(count / attempts)})" for _, count in steps],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": colours},
        "hoverinfo": "skip",
    }
    layout = rows_layout([name for name, _ in steps], left=196)
    layout["xaxis"] |= {"range": [0, attempts * 1.22], "visible": False}
    phone = narrow([name for name, _ in steps]) | {"xaxis": {"range": [0, attempts * 1.7]}}
    return {"data": [bars], "layout": layout, "narrow": phone}


def triggers(curation: dict[str, Any]) -> Figure:
    """Interventions per trigger, in the paper's three groups."""
    data = []
    for group, numbers in TRIGGER_GROUPS.items():
        counts = [curation["triggers"][str(number)] for number in numbers]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": group,
                "y": list(numbers),
                "x": counts,
                "text": [f"{count:,}" for count in counts],
                "textposition": "outside",
                "cliponaxis": False,
                "marker": {"color": GROUP_COLOURS[group]},
                "hoverinfo": "skip",
            }
        )
    layout = rows_layout(TRIGGER_LABELS, left=256)
    layout["xaxis"] |= {"range": [0, max(1, *curation["triggers"].values()) * 1.12], "visible": False}
    return {"data": data, "layout": layout, "narrow": narrow(TRIGGER_LABELS)}


@dataclass(frozen=True)
class Line:
    """Steps of one training."""

    name: str
    rows: list[dict[str, Any]]
    colour: str
    dashed: bool = False
    """Repeats what colour says."""


def curves(lines: list[Line], key: str, *, share: bool = False) -> Figure:
    """One quantity per training step: every step as a dot, a running mean as a line."""
    data: list[Figure] = []
    for line in lines:
        points = [(row["step"], row[key]) for row in line.rows if row.get(key) is not None]
        steps, values = [step for step, _ in points], [value for _, value in points]
        data += _steps(line, steps, values, "%{y:" + (".0%" if share else ".3~g") + "}")
    layout = base_layout() | {"height": 230, "margin": {"l": 52, "r": 12, "t": 8, "b": 48}}
    if len(lines) > 1:
        layout |= {"height": 262, "showlegend": True, "legend": legend()}
        layout["margin"] |= {"t": 40}
    title = {"text": "step", "font": {"size": 13, "color": "--ink-2"}, "standoff": 6}
    layout["xaxis"] = axis() | {"title": title, "rangemode": "tozero", "nticks": 6}
    layout["yaxis"] = axis() | {"rangemode": "tozero", "showgrid": True, "nticks": 5}
    if share:
        layout["yaxis"] |= {"range": [0, 1.03], "tickformat": ".0%", "dtick": 0.25}
    return {"data": data, "layout": layout}


def _steps(line: Line, steps: list[float], values: list[float], shown: str) -> list[Figure]:
    window = max(1, len(values) // 8)
    hover = "step %{x}: " + shown
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": steps,
        "y": values,
        "marker": {"size": 5, "color": line.colour, "opacity": 0.4},
        "showlegend": False,
        "hovertemplate": hover + "<extra></extra>",
    }
    mean = {
        "type": "scatter",
        "mode": "lines",
        "name": label(line.name),
        "x": steps,
        "y": running_mean(values, window),
        "line": {"width": 2.5, "color": line.colour, "dash": "dash" if line.dashed else "solid"},
        "hovertemplate": hover + f"<extra>mean of {2 * window + 1} steps</extra>",
    }
    return [dots, mean]


def running_mean(values: list[float], half: int) -> list[float]:
    """Mean over `half` neighbours on each side, fewer at the ends."""
    means = []
    for index in range(len(values)):
        window = values[max(0, index - half) : index + half + 1]
        means.append(sum(window) / len(window))
    return means
