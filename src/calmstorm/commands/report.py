"""`calm report RUN...`: the numbers of runs, for programs and for people; the paper's tables and figures from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands.console import emit, note, say, table
from calmstorm.errors import InputError
from calmstorm.printable import percent, percent_interval, printable

if TYPE_CHECKING:
    from calmstorm.evaluation import Summary
    from calmstorm.report.numbers import CurationNumbers, MacroNumbers, RunNumbers


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
    from calmstorm.report import report_json, write_reports
    from calmstorm.runs import RunDirectory
    from calmstorm.stages.cards import refresh_cards

    if len(runs) > 1 and out is None:
        raise InputError("a report on several runs belongs to none of them; name a folder for it with --out")
    folder = out or runs[0]
    if out is None:
        with RunDirectory(folder, readonly=True) as run:
            refresh_cards(run)
    reported = write_reports(runs, folder, pages=pages)
    names = [f"{printable(numbers.run.name)}: " if len(runs) > 1 else "" for numbers in reported.runs]
    for name, numbers in zip(names, reported.runs, strict=True):
        for gap in numbers.missing:
            note(f"{name}missing: {gap}")
    if as_json:
        emit(report_json(reported))
        return
    heads = ["suite", "stage", "pass@1", "95% interval"]
    if len(runs) == 1:
        rows = accuracy_rows(reported.runs[0])
    else:
        heads = ["run", *heads]
        rows = [[printable(numbers.run.name), *row] for numbers in reported.runs for row in accuracy_rows(numbers)]
    if rows:
        table(heads, rows, title="Accuracy")
    if len(runs) == 1 and reported.runs[0].curation.attempts:
        table(["", "before", "after"], curation_rows(reported.runs[0].curation), title="Curation")
    say(f"{folder / 'report.html'}")


def accuracy_rows(numbers: RunNumbers) -> list[list[str]]:
    """Returns pass@1 with its interval, suite by suite, the macro average last."""
    suites = dict.fromkeys(suite for results in numbers.evaluation.values() for suite in results)
    scores: list[tuple[str, str, Summary | MacroNumbers]] = [
        (suite, stage, results[suite])
        for suite in suites
        for stage, results in numbers.evaluation.items()
        if suite in results
    ]
    if len(suites) > 1:
        scores += [("macro average", stage, macro) for stage, macro in numbers.macro.items()]
    return [
        [printable(name), stage, percent(score.pass_at_1), percent_interval(score.ci95)]
        for name, stage, score in scores
    ]


def curation_rows(curation: CurationNumbers) -> list[list[str]]:
    """Returns what the hints changed."""
    return [
        ["correct", percent(curation.correct_before), percent(curation.correct_after)],
        ["response tokens", _round(curation.tokens_before), _round(curation.tokens_after)],
        ["golden", str(curation.golden_without_hints), str(curation.golden)],
        ["hints per attempt", "", _round(curation.hints_per_problem, 2)],
        ["edited tokens", "", percent(curation.edited_token_share)],
        ["token modification", "", percent(curation.token_modification)],
    ]


def _round(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
