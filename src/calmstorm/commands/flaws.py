"""`calm flaws`: which of the seven triggers responses show (paper appendix J: at most two each)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands.console import emit, table
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.intervener.findings import Finding

EXCERPT = 160
"""Characters of the first flawed passage that are shown."""


def register(app: typer.Typer) -> None:
    """Adds `flaws`."""
    app.command("flaws")(flaws)


def flaws(
    responses: Annotated[
        Path | None, typer.Option("--responses", help="Rows of problem, ground_truth, response.")
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="A run directory, instead of a file of responses.")] = None,
    annotator: Annotated[str, typer.Option("--annotator", help="rules or llm.")] = "rules",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Take the first N rows.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results and summary as JSON.")] = False,
) -> None:
    """Name the flaws of responses: which triggers, in order of appearance, and where the first one is."""
    if annotator != "rules":
        raise InputError(f"annotator is '{annotator}'; this version has rules: set --annotator rules")
    if (responses is None) == (run is None):
        raise InputError("flaws needs one source: give either --responses FILE or --run DIRECTORY")
    rows = _of_file(responses, limit) if responses is not None else _of_run(run or Path(), limit)
    results: list[dict[str, object]] = []
    counts: Counter[int] = Counter()
    for identity, text, found in rows:
        triggers = [int(f.trigger) for f in found]
        counts.update(triggers)
        excerpt = text[found[0].start : found[0].end].strip()[:EXCERPT] if found else ""
        results.append({**identity, "triggers": triggers, "excerpt": excerpt})
    total = len(results)
    rates = {str(t): round(counts[t] / total, 4) if total else 0.0 for t in range(1, 8)}
    flawless = sum(not row["triggers"] for row in results)
    summary: dict[str, object] = {"responses": total, "flawless": flawless, "rates": rates, "annotator": annotator}
    if as_json:
        emit({"results": results, "summary": summary})
        return
    from calmstorm.records import Trigger

    table(
        ["trigger", "responses", "rate"],
        [
            [f"{t} {Trigger(t).name.lower().replace('_', ' ')}", str(counts[t]), f"{rates[str(t)]:.1%}"]
            for t in range(1, 8)
        ]
        + [["flawless", str(flawless), f"{flawless / max(1, total):.1%}"]],
    )


def _of_file(path: Path, limit: int | None) -> Iterator[tuple[dict[str, object], str, list[Finding]]]:
    from calmstorm.intervener.rules import MOST_TRIGGERS, find_flaws
    from calmstorm.problems.files import load_responses

    for row in load_responses(path, limit):
        found = find_flaws(row.problem, row.response)[:MOST_TRIGGERS]
        yield {"id": row.problem.id}, row.response, found


def _of_run(path: Path, limit: int | None) -> Iterator[tuple[dict[str, object], str, list[Finding]]]:
    from itertools import islice

    from calmstorm.intervener.rules import annotate
    from calmstorm.records import Problem
    from calmstorm.runs import RunDirectory

    with RunDirectory(path, readonly=True) as directory:
        problems = {problem.id: problem for problem in directory.read("problems", Problem)}
        for each in islice(directory.trajectories(), limit):
            identity = {"id": each.problem_id, "stage": each.stage, "sample": each.sample, "round": each.round}
            yield identity, each.response, annotate(problems[each.problem_id], each)
