"""The results as one offline page of charts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.io

from interpreting.approaches import FLOOR, KINDS
from interpreting.results import Check, Results

_OURS, _WEAK, _OTHERS, _FLOOR_COLOUR = "#0b6e99", "#6fa9c4", "#a8763e", "#333333"
_ROW_PIXELS = 34
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Interpreter benchmark</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1280px; margin: 2rem auto;
        padding: 0 1rem }}
h1, h2 {{ line-height: 1.2 }}
h2 {{ margin-top: 2.5rem }}
.charts {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); gap: 1rem }}
.charts > div {{ min-width: 0 }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
td, th {{ padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd }}
.note {{ color: #555 }}
.missed {{ color: #a3271d; font-weight: 600 }}
</style>
<h1>Interpreter benchmark</h1>
<p class="note">{machine}</p>
<h2>Latency of one script</h2>
<p>Filled: after a pause, when a child is parked. Open: back to back. The mark is the median, its line runs to the 90th,
the fine line to the 99th percentile. The dotted line is in-process exec after a pause.</p>
<div class="charts">{latency}</div>
<h2>Throughput of the mix</h2>
<p>Executions per second: the median of short windows and their range. The dotted line is in-process exec in as many
processes.</p>
<div class="charts">{throughput}</div>
<h2>Targets</h2>
{checks}
{left_out}
</html>
"""


def write(path: Path, results: Results, targets: Sequence[Check], machine: dict[str, Any]) -> None:
    """Writes the page."""
    windows = sorted({count for measured in results.approaches.values() for count in measured.windows})
    latency = [_latency(results, script) for script in results.scripts]
    throughput = [_throughput(results, count) for count in windows]
    drawn = [
        plotly.io.to_html(
            figure, full_html=False, include_plotlyjs=number == 0, config={"displayModeBar": False, "responsive": True}
        )
        for number, figure in enumerate(latency + throughput)
    ]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    facts = f"{machine['cores']} cores, {machine['processor']}, Linux {machine['kernel']}, Python {machine['python']}"
    page = _PAGE.format(
        machine=escape(f"{facts}; {packages}"),
        latency="".join(drawn[: len(latency)]),
        throughput="".join(drawn[len(latency) :]) or "<p>Not measured.</p>",
        checks=_checks(targets),
        left_out=_left_out(results),
    )
    path.write_text(page, encoding="utf-8")


def _latency(results: Results, script: str) -> dict[str, Any]:
    names = [name for name in results.approaches if script not in results.approaches[name].failed]
    rows = {name: row for row, name in enumerate(names)}
    data: list[dict[str, Any]] = []
    for name, row in rows.items():
        times = results.approaches[name].times[script]
        for latencies, shift, filled in ((times.rested_ms, -0.16, True), (times.busy_ms, 0.16, False)):
            median, p90, p99 = (float(value) for value in np.quantile(latencies, (0.5, 0.9, 0.99)))
            hover = f"{name}, {'after a pause' if filled else 'back to back'}<br>"
            hover += f"median {median:.1f}, p90 {p90:.1f}, p99 {p99:.1f} ms, {len(latencies)} requests<extra></extra>"
            colour, height = _colour(name), row + shift
            for end, width in ((p99, 1), (p90, 3)):
                line = {"color": colour, "width": width}
                data.append(_trace([median, end], [height] * 2, hover, mode="lines", line=line))
            symbol = "circle" if filled else "circle-open"
            marker = {"size": 10, "color": colour, "symbol": symbol, "line": {"width": 2, "color": colour}}
            data.append(_trace([median], [height], hover, mode="markers", marker=marker))
    floor = statistics.median(results.approaches[FLOOR].times[script].rested_ms)
    layout = _layout(script, names, floor)
    ticks = [digit * 10**power for power in range(-1, 6) for digit in (1, 2, 5)]
    layout["xaxis"] |= {"type": "log", "title": {"text": "ms"}, "tickmode": "array", "tickvals": ticks}
    layout["xaxis"] |= {"ticktext": [f"{tick:g}" for tick in ticks], "range": _log_range(results)}
    return {"data": data, "layout": layout}


def _log_range(results: Results) -> list[float]:
    """The same axis for all scripts."""
    times = [time for measured in results.approaches.values() for time in measured.times.values()]
    latencies = [latency for time in times for latency in time.rested_ms + time.busy_ms]
    return [float(np.log10(min(latencies) / 1.2)), float(np.log10(max(latencies) * 1.2))]


def _throughput(results: Results, workers: int) -> dict[str, Any]:
    names = [
        name for name, measured in results.approaches.items() if not measured.failed and workers in measured.windows
    ]
    data: list[dict[str, Any]] = []
    for row, name in enumerate(names):
        speeds = results.approaches[name].windows[workers]
        median, ratio = statistics.median(speeds), statistics.median(results.ratios(name, workers))
        hover = f"{name}: {median:.1f} a second ({min(speeds):.1f} to {max(speeds):.1f})<extra></extra>"
        line = {"color": _colour(name), "width": 2}
        data.append(_trace([min(speeds), max(speeds)], [row] * 2, hover, mode="lines", line=line))
        marker = {"size": 11, "color": _colour(name)}
        label = {"text": [f"{ratio:.2f}x"], "textposition": "top center", "cliponaxis": False}
        data.append(_trace([median], [row], hover, mode="markers+text", marker=marker, **label))
    layout = _layout(
        f"{workers} worker{'s' * (workers > 1)}", names, statistics.median(results.approaches[FLOOR].windows[workers])
    )
    layout["xaxis"] |= {"rangemode": "tozero", "title": {"text": "executions per second"}}
    return {"data": data, "layout": layout}


def _colour(name: str) -> str:
    if name == FLOOR:
        return _FLOOR_COLOUR
    if KINDS[name].isolating:
        return _OURS
    return _WEAK if name == "unsafe" else _OTHERS


def _trace(x: list[float], y: list[float], hover: str, **more: object) -> dict[str, Any]:
    return {"type": "scatter", "x": x, "y": y, "hovertemplate": hover, "showlegend": False, **more}


def _layout(title: str, names: Sequence[str], floor: float) -> dict[str, Any]:
    dotted = {"color": _FLOOR_COLOUR, "dash": "dot", "width": 1}
    return {
        "title": {"text": escape(title), "x": 0, "xref": "container", "font": {"size": 16}},
        "height": _ROW_PIXELS * len(names) + 110,
        "margin": {"l": 96, "r": 16, "t": 44, "b": 48},
        "plot_bgcolor": "#fff",
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#222"},
        "dragmode": False,
        "xaxis": {"showgrid": True, "gridcolor": "#e5e5e5", "zeroline": False, "fixedrange": True},
        "yaxis": {
            "tickmode": "array",
            "tickvals": list(range(len(names))),
            "ticktext": list(names),
            "range": [len(names) - 0.5, -0.7],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        "shapes": [{"type": "line", "x0": floor, "x1": floor, "y0": 0, "y1": 1, "yref": "paper", "line": dotted}],
    }


def _checks(targets: Sequence[Check]) -> str:
    if not targets:
        return "<p>No isolating tier was measured.</p>"
    rows = [
        f"<tr><td>{escape(check.approach)}</td><td>{escape(check.what)}</td><td>{check.value:.2f}{check.unit}</td>"
        f"<td>{'≥' if check.at_least else '≤'} {check.target:g}{check.unit}</td>"
        f'<td class="{check.word}">{check.word}</td></tr>'
        for check in targets
    ]
    head = "<tr><th>tier</th><th>what</th><th>measured</th><th>target</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _left_out(results: Results) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in results.not_measured())
    return f"<h2>Not measured</h2><ul>{items}</ul>" if items else ""
