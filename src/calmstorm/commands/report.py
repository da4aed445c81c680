"""`calm report RUN`: the numbers of a run, for programs and for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from calmstorm.commands.console import emit, note, say, table


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(report)


def report(
    run: Annotated[Path, typer.Argument(help="Run directory, for example runs/demo.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json on stdout.")] = False,
) -> None:
    """Write report.json and report.html into a run directory, as far as the run is done, and print a summary."""
    from calmstorm.report import write_report

    numbers = write_report(run)
    for gap in numbers["missing"]:
        note(f"missing: {gap}")
    if as_json:
        emit(numbers)
        return
    if numbers["evaluation"]:
        table(["suite", "stage", "pass@1", "95% interval"], accuracy_rows(numbers), title="Accuracy")
    if numbers["curation"]["attempts"]:
        table(["", "before", "after"], curation_rows(numbers["curation"]), title="Curation")
    say(f"{run / 'report.html'}")


def accuracy_rows(numbers: dict[str, Any]) -> list[list[str]]:
    """Pass@1 with its interval, suite by suite, the macro average last."""
    evaluation = numbers["evaluation"]
    suites = list(dict.fromkeys(suite for cells in evaluation.values() for suite in cells))
    blocks = [(suite, {stage: cells.get(suite) for stage, cells in evaluation.items()}) for suite in suites]
    if len(suites) > 1:
        blocks.append(("macro average", numbers["macro"]))
    return [
        [_plain(suite), _plain(stage), _percent(cell["pass_at_1"]), _bounds(cell["ci95"])]
        for suite, cells in blocks
        for stage, cell in cells.items()
        if cell is not None
    ]


def curation_rows(curation: dict[str, Any]) -> list[list[str]]:
    """What the hints changed."""
    return [
        ["correct", _percent(curation["correct_before"]), _percent(curation["correct_after"])],
        ["response tokens", _round(curation["tokens_before"]), _round(curation["tokens_after"])],
        ["golden", str(curation["golden_without_hints"]), str(curation["golden"])],
        ["hints per attempt", "", _round(curation["hints_per_problem"], 2)],
        ["edited tokens", "", _percent(curation["edited_token_share"])],
    ]


def _bounds(interval: list[float] | None) -> str:
    return "-" if interval is None else f"{100 * interval[0]:.1f} - {100 * interval[1]:.1f}%"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}%"


def _round(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _plain(text: str) -> str:
    """Text of the run as a terminal may show it: no control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
