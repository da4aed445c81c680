"""`calm flaws`: which of the seven triggers responses show (paper appendix J: at most two each), and who agrees."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from calmstorm.commands.console import emit, say, table
from calmstorm.errors import InfrastructureError, InputError, WorkError

if TYPE_CHECKING:
    from calmstorm.evaluation import Agreement
    from calmstorm.intervener.findings import Finding
    from calmstorm.records import Problem

EXCERPT = 160
"""Characters of the first flawed passage that are shown."""
BATCH = 64
"""Responses sent to a model before the next are read."""


class _Row(NamedTuple):
    """A response to annotate."""

    identity: dict[str, object]
    problem: Problem
    response: str
    """Without what hints say."""
    find: Callable[[], list[Finding]]
    """Asks the rules."""


def register(app: typer.Typer) -> None:
    """Adds `flaws`."""
    app.command("flaws")(flaws)


def flaws(
    responses: Annotated[
        Path | None, typer.Option("--responses", help="Rows of problem, ground_truth, response.")
    ] = None,
    run: Annotated[Path | None, typer.Option("--run", help="A run directory, instead of a file of responses.")] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Labels to compare with: rows of id and triggers, by people or by another annotator."),
    ] = None,
    annotator: Annotated[str, typer.Option("--annotator", help="rules or llm.")] = "rules",
    model: Annotated[
        str, typer.Option("--model", help="Model of the llm annotator, at CALM_INTERVENER_URL.")
    ] = "gemini-2.5-pro",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Take the first N rows.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results and summary as JSON.")] = False,
) -> None:
    """Name the flaws of responses: which triggers, in order of appearance, and where the first one is."""
    if annotator not in ("rules", "llm"):
        raise InputError(f"annotator is '{annotator}'; it must be rules or llm: set --annotator")
    if (responses is None) == (run is None):
        raise InputError("flaws needs one source: give either --responses FILE or --run DIRECTORY")
    rows = _of_file(responses, limit) if responses is not None else _of_run(run or Path(), limit)
    labels = _labels(against) if against is not None else None
    name, results = (annotator, _by_rules(rows)) if annotator == "rules" else _by_llm(rows, model)
    counts = Counter(trigger for row in results for trigger in row["triggers"] or [])
    annotated = [row for row in results if row["triggers"] is not None]
    rates = {str(t): round(counts[t] / len(annotated), 4) if annotated else 0.0 for t in range(1, 8)}
    flawless = sum(not row["triggers"] for row in annotated)
    failed = len(results) - len(annotated)
    summary = {"responses": len(annotated), "flawless": flawless, "rates": rates, "annotator": name, "failed": failed}
    agreed = _agreement(labels, annotated, against) if labels is not None else None
    if as_json:
        shown = {"results": results, "summary": summary}
        emit({**shown, "agreement": agreed.model_dump(mode="json")} if agreed else shown)
    else:
        _show(counts, rates, flawless, len(annotated))
        if agreed:
            _show_agreement(agreed)
    if failed:
        raise WorkError(
            f"{failed} of {len(results)} responses were not annotated: {_first_error(results)}; run it again"
        )


def _show(counts: Counter[int], rates: dict[str, float], flawless: int, total: int) -> None:
    from calmstorm.records import Trigger

    names = {t: Trigger(t).name.lower().replace("_", " ") for t in range(1, 8)}
    table(
        ["trigger", "responses", "rate"],
        [[f"{t} {names[t]}", str(counts[t]), f"{rates[str(t)]:.1%}"] for t in range(1, 8)]
        + [["flawless", str(flawless), f"{flawless / max(1, total):.1%}"]],
    )


def _labels(path: Path) -> dict[str, tuple[int, ...]]:
    from calmstorm.evaluation import read_labels

    return read_labels(path)


def _agreement(labels: dict[str, tuple[int, ...]], annotated: list[dict[str, Any]], path: Path | None) -> Agreement:
    from calmstorm.evaluation import agreement
    from calmstorm.evaluation.agreement import label_name

    found = agreement(labels, {label_name(row): row["triggers"] for row in annotated})
    if found is None:
        raise InputError(f"{path}: labels none of these responses; its ids must be those of the responses")
    return found


def _show_agreement(agreed: Agreement) -> None:
    from calmstorm.records import Trigger

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    table(
        ["trigger", "labelled", "found", "precision", "recall", "kappa"],
        [
            [
                f"{key} {Trigger(key).name.lower().replace('_', ' ')}",
                str(each.both + each.first_only),
                str(each.both + each.second_only),
                number(each.precision),
                number(each.recall),
                number(each.kappa),
            ]
            for key, each in agreed.triggers.items()
        ],
        "Against the labels",
    )
    low, high = agreed.accuracy_ci95
    say(
        f"{agreed.responses} responses in common; the same triggers for {agreed.accuracy:.1%} ({low:.1%} to {high:.1%})"
    )
    ends = "" if agreed.kappa_ci95 is None else f" ({agreed.kappa_ci95[0]:.2f} to {agreed.kappa_ci95[1]:.2f})"
    say(f"Cohen's kappa of the first trigger, or none: {number(agreed.kappa)}{ends}; 95 % intervals")
    missing = [(agreed.only_first, "labels without a response"), (agreed.only_second, "responses without a label")]
    for count, what in missing:
        if count:
            say(f"{count} {what}")


def _by_rules(rows: Iterable[_Row]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for row in rows:
        found = row.find()
        excerpt = row.response[found[0].start : found[0].end].strip()[:EXCERPT] if found else ""
        results.append({**row.identity, "triggers": [int(f.trigger) for f in found], "excerpt": excerpt})
    return results


def _by_llm(rows: Iterable[_Row], model: str) -> tuple[str, list[dict[str, Any]]]:
    """Asks a model about every row; one that could not be annotated says why and has null triggers."""
    from calmstorm.intervener.llm import LlmAnnotator

    annotator = LlmAnnotator(model)

    async def one(row: _Row) -> dict[str, Any]:
        try:
            found = await annotator.annotate(row.problem.question, row.response)
        except InfrastructureError as error:
            return {**row.identity, "triggers": None, "excerpt": "", "error": str(error)}
        return {**row.identity, "triggers": [int(trigger) for trigger in found], "excerpt": ""}

    async def work() -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        remaining = iter(rows)
        try:
            while batch := list(islice(remaining, BATCH)):
                results += await asyncio.gather(*map(one, batch))
        finally:
            await annotator.close()
        return results

    return annotator.name, asyncio.run(work())


def _first_error(results: list[dict[str, Any]]) -> str:
    return next(str(row["error"]) for row in results if "error" in row)


def _of_file(path: Path, limit: int | None) -> Iterator[_Row]:
    from calmstorm.problems.files import load_responses

    for each in load_responses(path, limit):
        identity: dict[str, object] = {"id": each.problem.id, **({"sample": each.sample} if each.sample else {})}
        yield _Row(identity, each.problem, each.response, partial(_find, each.problem, each.response))


def _find(problem: Problem, response: str) -> list[Finding]:
    from calmstorm.intervener.rules import find_flaws, named

    return named(find_flaws(problem, response))


def _of_run(path: Path, limit: int | None) -> Iterator[_Row]:
    from calmstorm.intervener.rules import annotate
    from calmstorm.intervener.segments import without_hints
    from calmstorm.records import Problem
    from calmstorm.runs import RunDirectory

    with RunDirectory(path, readonly=True) as directory:
        problems = {problem.id: problem for problem in directory.read("problems", Problem)}
        for each in islice(directory.trajectories(), limit):
            identity = {"id": each.problem_id, "stage": each.stage, "sample": each.sample, "round": each.round}
            if each.problem_id not in problems:
                raise WorkError(f"{path}: problems.jsonl lacks {each.problem_id!r}, which has trajectories; restore it")
            problem = problems[each.problem_id]
            yield _Row(identity, problem, without_hints(each.spans), partial(annotate, problem, each))
