"""The report's charts as plotly figures: plain dicts, ready for JSON.

Colours are written as names of CSS variables ("--stage-base"); the page resolves them, so that the same figure is drawn in
the light and in the dark theme. Bars start at zero, accuracy axes span 0 to 100 %, intervals are drawn, and values stand
beside their marks. Text that comes from the run is escaped for plotly's own pseudo-HTML before it enters a figure.
"""

from __future__ import annotations

from html import escape
from typing import Any

from calmstorm.report.examples import TRIGGER_GROUPS, TRIGGER_NAMES

Figure = dict[str, Any]

STAGE_COLOURS = {"base": "--stage-base", "sft": "--stage-sft", "rl": "--stage-rl"}
STAGE_SYMBOLS = {"base": "circle-open", "sft": "square", "rl": "diamond"}
"""Shape repeats what colour says, for readers who don't see the difference and for print."""
GROUP_COLOURS = dict(zip(TRIGGER_GROUPS, ("--group-code", "--group-or", "--group-protocol"), strict=True))


def label(text: object) -> str:
    """Text of the run, safe inside a figure, short enough for an axis."""
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in str(text))
    return escape(plain if len(plain) <= 28 else plain[:27] + "…")


def stage_name(stage: str) -> str:
    """How a stage is written for people."""
    return {"base": "Base", "sft": "SFT", "rl": "RL"}.get(stage, stage)


def percent(share: float | None) -> str:
    """A share as people read it."""
    return "–" if share is None else f"{100 * share:.0f} %"


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
        "y": [name for name, _ in steps],
        "x": [count for _, count in steps],
        "text": [f"{count:,}  ({percent(count / attempts)})" for _, count in steps],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": colours},
        "hovertemplate": "%{y}: %{x:,}<extra></extra>",
    }
    layout = _rows_layout(len(steps), left=190)
    layout["xaxis"] |= {"range": [0, attempts * 1.2], "visible": False}
    return {"data": [bars], "layout": layout}


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
                "y": [_trigger_label(number) for number in numbers],
                "x": counts,
                "text": [f"{count:,}" for count in counts],
                "textposition": "outside",
                "cliponaxis": False,
                "marker": {"color": GROUP_COLOURS[group]},
                "hovertemplate": "%{y}: %{x:,}<extra>" + group + "</extra>",
            }
        )
    layout = _rows_layout(7, left=215) | {"showlegend": True, "legend": _legend()}
    layout["margin"]["t"] = 40
    layout["xaxis"] |= {"range": [0, max(1, *curation["triggers"].values()) * 1.12], "visible": False}
    return {"data": data, "layout": layout}


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
        notes.append(_note(f"<b>{name}</b>", x=0, y=height, xref="paper", xanchor="right", xshift=-10))
        height += 1
        for stage in evaluation:
            cell = cells.get(stage)
            if cell is not None and cell["pass_at_1"] is not None:
                rows[stage].append((height, cell))
                ticks.append((height, label(stage_name(stage))))
                notes.append(_note(_with_interval(cell), x=1, y=height, xref="paper", xanchor="left", xshift=8))
                height += 1
        height += 0.5
    for stage, points in rows.items():
        data.append(_forest_points(stage, points))
    layout = _rows_layout(height, left=120, right=130, row=27)
    layout["xaxis"] |= {"range": [0, 1], "tickformat": ".0%", "dtick": 0.25, "showgrid": True}
    layout["yaxis"] |= {
        "autorange": False,
        "range": [height - 0.5, -0.6],
        "tickmode": "array",
        "tickvals": [position for position, _ in ticks],
        "ticktext": [text for _, text in ticks],
    }
    return {"data": data, "layout": layout | {"annotations": notes}}


def _forest_points(stage: str, points: list[tuple[float, dict[str, Any]]]) -> Figure:
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
            "color": STAGE_COLOURS.get(stage, "--mark"),
        },
        "marker": {"size": 11, "symbol": STAGE_SYMBOLS.get(stage, "circle"), "color": STAGE_COLOURS.get(stage, "--mark")},
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
    layout = _base_layout() | {"height": 230, "margin": {"l": 46, "r": 12, "t": 8, "b": 40}}
    layout["xaxis"] = _axis() | {"title": {"text": "step"}, "rangemode": "tozero", "nticks": 6}
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
    """Share of responses that show each trigger: one row per trigger, one mark per stage."""
    names = [_trigger_label(int(trigger)) for trigger in TRIGGER_NAMES]
    highest = max((rate for rates in flaws.values() for rate in rates.values()), default=0.0)
    data: list[Figure] = []
    for index, name in enumerate(names, start=1):
        rates = [stage_rates[str(index)] for stage_rates in flaws.values()]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": [min(rates), max(rates)],
                "y": [name, name],
                "line": {"width": 2, "color": "--rule-strong"},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
    for stage, stage_rates in flaws.items():
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": label(stage_name(stage)),
                "x": [stage_rates[str(number)] for number in range(1, 8)],
                "y": names,
                "marker": {
                    "size": 12,
                    "symbol": STAGE_SYMBOLS.get(stage, "circle"),
                    "color": STAGE_COLOURS.get(stage, "--mark"),
                    "line": {"width": 2, "color": STAGE_COLOURS.get(stage, "--mark")},
                },
                "cliponaxis": False,
                "hovertemplate": "%{y}: %{x:.1%}<extra>" + label(stage_name(stage)).replace("%{", "% {") + "</extra>",
            }
        )
    layout = _rows_layout(7, left=215, row=38) | {"showlegend": True, "legend": _legend()}
    layout["margin"] |= {"t": 40, "b": 40}
    layout["xaxis"] |= {"range": [0, max(0.05, highest * 1.08)], "tickformat": ".0%", "nticks": 6, "showgrid": True}
    return {"data": data, "layout": layout}


def _trigger_label(number: int) -> str:
    return f"{number}  {next(name for trigger, name in TRIGGER_NAMES.items() if trigger == number)}"


def _with_interval(cell: dict[str, Any]) -> str:
    if cell["ci95"] is None:
        return percent(cell["pass_at_1"])
    low, high = cell["ci95"]
    return f"<b>{percent(cell['pass_at_1'])}</b>  [{100 * low:.0f}, {100 * high:.0f}]"


def _note(text: str, **where: Any) -> Figure:
    return {"text": text, "showarrow": False, "yref": "y", "yanchor": "middle", "font": {"size": 13, "color": "--ink"}} | where


def _axis() -> Figure:
    return {
        "showgrid": False,
        "gridcolor": "--rule",
        "zeroline": False,
        "fixedrange": True,
        "tickfont": {"color": "--ink-2"},
        "ticks": "",
        "automargin": False,
    }


def _legend() -> Figure:
    return {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left", "xref": "paper", "itemclick": False}


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


def _rows_layout(rows: float, *, left: int, right: int = 16, row: int = 40) -> Figure:
    layout = _base_layout()
    layout["height"] = int(rows * row) + 56
    layout["margin"] = {"l": left, "r": right, "t": 12, "b": 34}
    layout["yaxis"] |= {"autorange": "reversed", "tickfont": {"color": "--ink"}}
    return layout
