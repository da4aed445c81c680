"""`calm report RUN...`: the numbers of runs, for programs and for people; the paper's tables and figures from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from calmstorm.commands.console import emit, note, say, table
from calmstorm.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(report)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories, for example runs/demo.", show_default=False),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into; a single run is reported into itself without.")
    ] = None,
    pages: Annotated[bool, typer.Option(help="A page for each problem, with all its trajectories.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json on stdout.")] = False,
) -> None:
    """Write report.json, report.html and the folder report_files, as far as the runs are done, and print a summary.

    Several runs, such as evaluations of several models on the same benchmarks, become one report; they need --out.
    The folder holds every table as Markdown, CSV and LaTeX, and a page for each problem.
    """
    from calmstorm.report import write_reports

    if len(runs) > 1 and out is None:
        raise InputError("a report on several runs belongs to none of them; name a folder for it with --out")
    folder = out or runs[0]
    numbers = write_reports(runs, folder, pages=pages)
    several: list[dict[str, Any]] = numbers.get("runs", [numbers])
    for each in several:
        for gap in each["missing"]:
            note(f"missing: {gap}" if len(several) == 1 else f"{_plain(each['run']['name'])}: missing: {gap}")
    if as_json:
        emit(numbers)
        return
    rows = [row for each in several for row in accuracy_rows(each, named=len(several) > 1)]
    if rows:
        heads = ["suite", "stage", "pass@1", "95% interval"]
        table(["run", *heads] if len(several) > 1 else heads, rows, title="Accuracy")
    if len(several) == 1 and numbers["curation"]["attempts"]:
        table(["", "before", "after"], curation_rows(numbers["curation"]), title="Curation")
    say(f"{folder / 'report.html'}")


def accuracy_rows(numbers: dict[str, Any], *, named: bool = False) -> list[list[str]]:
    """Pass@1 with its interval, suite by suite, the macro average last; with the run's name before, if asked."""
    evaluation = numbers["evaluation"]
    suites = list(dict.fromkeys(suite for cells in evaluation.values() for suite in cells))
    blocks = [(suite, {stage: cells.get(suite) for stage, cells in evaluation.items()}) for suite in suites]
    if len(suites) > 1:
        blocks.append(("macro average", numbers["macro"]))
    name = [_plain(numbers["run"]["name"])] if named else []
    return [
        [*name, _plain(suite), _plain(stage), _percent(cell["pass_at_1"]), _bounds(cell["ci95"])]
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
