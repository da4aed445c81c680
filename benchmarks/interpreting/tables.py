"""The results as tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from interpreting.approaches import FLOOR
from interpreting.results import Check, Results

FAILS = "fails"


def show(results: Results, workers: Sequence[int], targets: Sequence[Check]) -> None:
    """Prints everything on stdout."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=150)
    for script in results.scripts:
        console.print(_latency(results, script))
    if workers:
        console.print(_throughput(results, workers))
    for line in results.not_measured():
        console.print(line, markup=False, highlight=False)
    for check in targets:
        target = f"{'>=' if check.at_least else '<='} {check.target:g}"
        line = f"{check.word:<7} {check.approach:<11} {check.what}: {check.value:.2f} (target {target}{check.unit})"
        console.print(line, markup=False, highlight=False, style="green" if check.met else "red")


def _latency(results: Results, script: str) -> Table:
    table = Table(title=f"{script}: ms", title_justify="left")
    table.add_column("approach")
    for way in ("after a pause", "back to back"):
        for column in (f"{way}: median", "p90", "p99", "x floor"):
            table.add_column(column, justify="right")
    table.add_column("CPU", justify="right")
    table.add_column("over floor", justify="right")
    floor = results.approaches[FLOOR].times[script]
    for name, measured in results.approaches.items():
        times = measured.times[script]
        if script in measured.failed:
            table.add_row(name, FAILS)
            continue
        cells = []
        for mine, base in ((times.rested_ms, floor.rested_ms), (times.busy_ms, floor.busy_ms)):
            median, p90, p99 = np.quantile(mine, (0.5, 0.9, 0.99))
            cells += [f"{median:.1f}", f"{p90:.1f}", f"{p99:.1f}", f"{median / statistics.median(base):.2f}"]
        cpu, over = statistics.median(times.cpu_ms), results.cpu_over_floor(name, script)
        table.add_row(name, *cells, f"{cpu:.1f}", f"{over:+.1f}")
    return table


def _throughput(results: Results, workers: Sequence[int]) -> Table:
    table = Table(
        title="The mix: executions per second, and over in-process (median of windows, range)", title_justify="left"
    )
    table.add_column("approach")
    for count in workers:
        table.add_column(f"{count} worker{'s' * (count > 1)}", justify="right")
        table.add_column("x floor", justify="right")
    table.add_column("start, s", justify="right")
    for name, measured in results.approaches.items():
        cells = []
        for count in workers:
            ratios = results.ratios(name, count)
            if measured.failed or not ratios:
                cells += [FAILS, ""]
                continue
            spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            cells += [f"{statistics.median(measured.windows[count]):.1f}", spread]
        table.add_row(name, *cells, f"{statistics.median(measured.start_seconds):.2f}")
    return table
