"""`calm report RUN`: the numbers of a run, for programs and for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from calmstorm.report import write_report


def report(
    run: Annotated[Path, typer.Argument(help="Run directory, for example runs/demo.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json on stdout.")] = False,
) -> None:
    """Write report.json and report.html into a run directory, as far as the run is done, and print a summary."""
    numbers = write_report(run)
    if as_json:
        typer.echo(json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False))
        return
    console = Console()
    if numbers["evaluation"]:
        console.print(accuracy_table(numbers))
    if numbers["curation"]["attempts"]:
        console.print(curation_table(numbers["curation"]))
    for gap in numbers["missing"]:
        console.print(f"missing: {gap}", markup=False)
    console.print(f"{run / 'report.html'}", markup=False, soft_wrap=True, highlight=False)


def accuracy_table(numbers: dict[str, Any]) -> Table:
    """Pass@1 with 95 % intervals, a row per stage, a column per suite."""
    evaluation, macro = numbers["evaluation"], numbers["macro"]
    suites = list(dict.fromkeys(suite for cells in evaluation.values() for suite in cells))
    table = Table(title="Pass@1, 95% interval", title_justify="left")
    table.add_column("stage")
    for suite in [*map(_plain, suites), *(["macro average"] if len(suites) > 1 else [])]:
        table.add_column(suite, justify="right")
    for stage, cells in evaluation.items():
        row = [_interval(cells.get(suite)) for suite in suites]
        table.add_row(_plain(stage), *row, *([_interval(macro.get(stage))] if len(suites) > 1 else []))
    return table


def curation_table(curation: dict[str, Any]) -> Table:
    """What the hints changed."""
    table = Table(title="Curation", title_justify="left")
    for name in ("", "before", "after"):
        table.add_column(name, justify="right" if name else "left")
    table.add_row("correct", _percent(curation["correct_before"]), _percent(curation["correct_after"]))
    table.add_row("response tokens", _round(curation["tokens_before"]), _round(curation["tokens_after"]))
    table.add_row("golden", str(curation["golden_without_hints"]), str(curation["golden"]))
    table.add_row("hints per attempt", "", _round(curation["hints_per_problem"], 2))
    table.add_row("edited tokens", "", _percent(curation["edited_token_share"]))
    return table


def _interval(cell: dict[str, Any] | None) -> str:
    if cell is None or cell["pass_at_1"] is None:
        return "-"
    low, high = cell["ci95"] or (cell["pass_at_1"], cell["pass_at_1"])
    return f"{_percent(cell['pass_at_1'])} {100 * low:.0f}-{100 * high:.0f}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _round(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _plain(text: str) -> str:
    """Text of the run that the terminal shows as it is: no markup, no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text).replace("[", r"\[")
