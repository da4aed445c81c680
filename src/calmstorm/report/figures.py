"""The report's charts as plotly figures: plain dicts, ready for JSON.

Colours are written as names of CSS variables ("--stage-base"); the page resolves them, so that the same figure is drawn
in the light and in the dark theme. Bars start at zero, accuracy axes span 0 to 100 %, intervals are drawn, and values
stand beside their marks. Beside plotly's `data` and `layout`, a figure has `narrow`: what the page overrides on a
phone. Text that comes from the run is escaped for plotly's own pseudo-HTML before it enters a figure.
"""

from __future__ import annotations

from html import escape
from textwrap import wrap
from typing import Any

from calmstorm.report.examples import TRIGGER_GROUPS, TRIGGER_NAMES

Figure = dict[str, Any]

STAGE_COLOURS = {"base": "--stage-base", "sft": "--stage-sft", "rl": "--stage-rl"}
STAGE_SYMBOLS = {"base": "circle", "sft": "square", "rl": "diamond"}
"""Shape repeats what colour says, for readers who don't see the difference and for print."""
GROUP_COLOURS = dict(zip(TRIGGER_GROUPS, ("--group-code", "--group-or", "--group-protocol"), strict=True))

LABEL_LENGTH = 28
"""Characters of a name that an axis has room for."""
UNKNOWN = "\N{EN DASH}"
"""Stands where the run has no number."""
TRIGGER_LABELS = [f"{int(trigger)}  {name}" for trigger, name in TRIGGER_NAMES.items()]


def label(text: object) -> str:
    """Text of the run, safe inside a figure, short enough for an axis."""
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))
    return escape(plain if len(plain) <= LABEL_LENGTH else plain[: LABEL_LENGTH - 1] + "…")


def stage_name(stage: str) -> str:
    """How a stage is written for people."""
    return {"base": "Base", "sft": "SFT", "rl": "RL"}.get(stage, stage)


def percent(share: float | None) -> str:
    """A share as people read it."""
    return UNKNOWN if share is None else f"{100 * share:.0f}%"


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
    layout = _rows_layout([name for name, _ in steps], left=196)
    layout["xaxis"] |= {"range": [0, attempts * 1.22], "visible": False}
    narrow = _narrow([name for name, _ in steps]) | {"xaxis": {"range": [0, attempts * 1.7]}}
    return {"data": [bars], "layout": layout, "narrow": narrow}


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
    layout = _rows_layout(TRIGGER_LABELS, left=256)
    layout["xaxis"] |= {"range": [0, max(1, *curation["triggers"].values()) * 1.12], "visible": False}
    return {"data": data, "layout": layout, "narrow": _narrow(TRIGGER_LABELS)}


def accuracy(evaluation: dict[str, Any], macro: dict[str, Any]) -> Figure:
    """A forest plot: pass@1 with its 95 % interval, one row per suite and stage."""
    suites = list(dict.fromkeys(suite for cells in evaluation.values() for suite in cells))
    blocks = [(label(suite), {stage: cells.get(suite) for stage, cells in evaluation.items()}) for suite in suites]
    if len(suites) > 1:
        blocks.append(("macro average", dict(macro)))
    data: list[Figure] = []
    notes: list[Figure] = []
    ticks: list[tuple[float, str]] = []
    rows: dict[str, list[tuple[float, dict[str, Any]]]] = {stage: [] for stage in evaluation}
    height = 0.0
    for name, cells in blocks:
        notes.append(_note(f"<b>{name}</b>", x=0, y=height, xanchor="right", xshift=-10))
        height += 1
        for stage in evaluation:
            cell = cells.get(stage)
            if cell is not None and cell["pass_at_1"] is not None:
                rows[stage].append((height, cell))
                ticks.append((height, label(stage_name(stage))))
                notes.append(_note(_with_interval(cell), x=1, y=height, xanchor="left", xshift=8))
                height += 1
        height += 0.5
    for stage, points in rows.items():
        data.append(_forest_points(stage, points))
    left = 24 + 8 * max(12, *(len(name) for name, _ in blocks), *(len(stage_name(stage)) for stage in evaluation))
    left = min(left, 24 + 8 * LABEL_LENGTH)
    layout = _base_layout() | {"height": int(27 * height) + 56, "margin": {"l": left, "r": 130, "t": 12, "b": 34}}
    layout["xaxis"] |= {"range": [0, 1], "tickformat": ".0%", "dtick": 0.25, "showgrid": True}
    layout["xaxis"] |= {"zeroline": True, "zerolinecolor": "--rule-strong"}
    layout["yaxis"] |= _ticks([position for position, _ in ticks], [text for _, text in ticks])
    layout["yaxis"] |= {"range": [height - 0.5, -0.6]}
    narrow = {"margin": {"l": min(left, 150), "r": 96}, "xaxis": {"dtick": 0.5}}
    return {"data": data, "layout": layout | {"annotations": notes}, "narrow": narrow}


def _forest_points(stage: str, points: list[tuple[float, dict[str, Any]]]) -> Figure:
    colour = STAGE_COLOURS.get(stage, "--mark")
    values = [cell["pass_at_1"] for _, cell in points]
    bounds = [cell["ci95"] or [cell["pass_at_1"]] * 2 for _, cell in points]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label(stage_name(stage)),
        "x": values,
        "y": [height for height, _ in points],
        "customdata": [_with_interval(cell) for _, cell in points],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [bound[1] - value for bound, value in zip(bounds, values, strict=True)],
            "arrayminus": [value - bound[0] for bound, value in zip(bounds, values, strict=True)],
            "thickness": 2,
            "width": 5,
            "color": colour,
        },
        "marker": {"size": 11, "symbol": STAGE_SYMBOLS.get(stage, "circle"), "color": colour},
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def curve(rows: list[dict[str, Any]], key: str, *, share: bool = False, colour: str = "--stage-rl") -> Figure:
    """One quantity per training step: every step as a dot, a running mean as a line."""
    points = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    steps, values = [step for step, _ in points], [value for _, value in points]
    window = max(1, len(values) // 8)
    hover = "step %{x}: %{y:" + (".0%" if share else ".3~g") + "}"
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": steps,
        "y": values,
        "marker": {"size": 5, "color": colour, "opacity": 0.4},
        "hovertemplate": hover + "<extra></extra>",
    }
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": steps,
        "y": running_mean(values, window),
        "line": {"width": 2.5, "color": colour},
        "hovertemplate": hover + f"<extra>mean of {2 * window + 1} steps</extra>",
    }
    layout = _base_layout() | {"height": 230, "margin": {"l": 52, "r": 12, "t": 8, "b": 48}}
    title = {"text": "step", "font": {"size": 13, "color": "--ink-2"}, "standoff": 6}
    layout["xaxis"] = _axis() | {"title": title, "rangemode": "tozero", "nticks": 6}
    layout["yaxis"] = _axis() | {"rangemode": "tozero", "showgrid": True, "nticks": 5}
    if share:
        layout["yaxis"] |= {"range": [0, 1.03], "tickformat": ".0%", "dtick": 0.25}
    return {"data": [dots, line], "layout": layout}


def running_mean(values: list[float], half: int) -> list[float]:
    """Mean over `half` neighbours on each side, fewer at the ends."""
    means = []
    for index in range(len(values)):
        window = values[max(0, index - half) : index + half + 1]
        means.append(sum(window) / len(window))
    return means


def flaw_rates(flaws: dict[str, dict[str, float]]) -> Figure:
    """Share of responses that show each trigger: one row per trigger, one stem per stage within it."""
    highest = max((rate for rates in flaws.values() for rate in rates.values()), default=0.0)
    data: list[Figure] = []
    for order, (stage, stage_rates) in enumerate(flaws.items()):
        shift = 0.6 * ((order + 0.5) / len(flaws) - 0.5)
        rates = [stage_rates[str(number)] for number in range(1, 8)]
        colour = STAGE_COLOURS.get(stage, "--mark")
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": label(stage_name(stage)),
                "x": rates,
                "y": [number + shift for number in range(1, 8)],
                "text": [f"{name}: {100 * rate:.1f}%" for name, rate in zip(TRIGGER_LABELS, rates, strict=True)],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": [0] * 7,
                    "arrayminus": rates,
                    "thickness": 2,
                    "width": 0,
                    "color": colour,
                },
                "marker": {"size": 10, "symbol": STAGE_SYMBOLS.get(stage, "circle"), "color": colour},
                "cliponaxis": False,
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    layout = _rows_layout(TRIGGER_LABELS, left=256, row=50) | {"showlegend": True, "legend": _legend()}
    layout["margin"] |= {"t": 40, "b": 40}
    layout["xaxis"] |= {"range": [0, max(0.05, highest * 1.08)], "tickformat": ".0%", "nticks": 6, "showgrid": True}
    layout["xaxis"] |= {"zeroline": True, "zerolinecolor": "--rule-strong"}
    return {"data": data, "layout": layout, "narrow": _narrow(TRIGGER_LABELS)}


def _with_interval(cell: dict[str, Any]) -> str:
    if cell["ci95"] is None:
        return percent(cell["pass_at_1"])
    low, high = cell["ci95"]
    return f"<b>{percent(cell['pass_at_1'])}</b>  [{100 * low:.0f}, {100 * high:.0f}]"


def _note(text: str, *, x: float, y: float, xanchor: str, xshift: int) -> Figure:
    """A text in the margin, at the height of a row."""
    place = {"x": x, "y": y, "xref": "paper", "yref": "y", "xanchor": xanchor, "yanchor": "middle", "xshift": xshift}
    return {"text": text, "showarrow": False, "font": {"size": 13, "color": "--ink"}} | place


def _axis() -> Figure:
    return {
        "showgrid": False,
        "gridcolor": "--rule",
        "zeroline": False,
        "fixedrange": True,
        "tickfont": {"color": "--ink-2"},
        "ticks": "",
        "ticklabelstandoff": 6,
    }


def _legend() -> Figure:
    return {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left", "itemclick": False}


def _base_layout() -> Figure:
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "--font", "size": 13, "color": "--ink"},
        "hoverlabel": {"bgcolor": "--raised", "bordercolor": "--rule-strong", "font": {"color": "--ink"}},
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
        "bargap": 0.38,
        "xaxis": _axis(),
        "yaxis": _axis(),
    }


def _ticks(positions: list[float], texts: list[str]) -> Figure:
    return {
        "autorange": False,
        "tickmode": "array",
        "tickvals": positions,
        "ticktext": texts,
        "tickfont": {"color": "--ink"},
        "ticklabelstandoff": 10,
    }


def _rows_layout(names: list[str], *, left: int, row: int = 40) -> Figure:
    """Layout of a chart with one named row per unit of y, the first on top."""
    layout = _base_layout()
    layout["height"] = len(names) * row + 56
    layout["margin"] = {"l": left, "r": 16, "t": 12, "b": 34}
    layout["yaxis"] |= _ticks([float(number) for number in range(1, len(names) + 1)], names)
    layout["yaxis"] |= {"range": [len(names) + 0.5, 0.5]}
    return layout


def _narrow(names: list[str]) -> Figure:
    """What changes in such a chart on a phone: row names in smaller type, on several lines."""
    lines = ["<br>".join(wrap(name, 17)) for name in names]
    return {"margin": {"l": 124}, "yaxis": {"ticktext": lines, "tickfont": {"color": "--ink", "size": 11}}}
