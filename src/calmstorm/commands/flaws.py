"""`calm flaws`: which of the seven triggers responses show (paper appendix J: at most two each), and who agrees."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calmstorm.commands.console import emit, say, table
from calmstorm.commands.flaws_kept import FlawRow, KeptFlaws
from calmstorm.errors import InfrastructureError, InputError, WorkError

if TYPE_CHECKING:
    from calmstorm.evaluation import Agreement, FlawSummary
    from calmstorm.intervener.rules import Finding
    from calmstorm.records import Problem

EXCERPT = 160
"""Characters of the first flawed passage that are shown."""
BATCH = 64
"""Responses sent to a model before the next are read."""


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
    keep: Annotated[
        bool, typer.Option("--keep", help="With --run: keep the triggers of evaluated responses in it, for reports.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results and summary as JSON.")] = False,
) -> None:
    """Name the flaws of responses: which triggers, in order of appearance, and where the first one is."""
    if annotator not in ("rules", "llm"):
        raise InputError(f"annotator is '{annotator}'; it must be rules or llm: set --annotator")
    if (responses is None) == (run is None):
        raise InputError("flaws needs one source: give either --responses FILE or --run DIRECTORY")
    if keep and run is None:
        raise InputError("--keep writes into a run: name it with --run DIRECTORY")
    with contextlib.ExitStack() as stack:
        rows = _of_file(responses, limit) if responses is not None else _of_run(run or Path(), limit)
        kept = stack.enter_context(KeptFlaws(run)) if keep and run is not None else None
        labels = _labels(against) if against is not None else None
        if annotator == "rules":
            name, results = annotator, _by_rules(kept.open(rows, annotator) if kept else rows, kept)
        else:
            name, results = _by_llm(rows, model, kept)
    found = _tallied(results)
    annotated = [row for row in results if row["triggers"] is not None]
    failed = len(results) - len(annotated)
    agreed = _agreement(labels, annotated, against) if labels is not None else None
    if as_json:
        shown = {"results": results, "summary": {**_summary(found), "annotator": name, "failed": failed}}
        emit({**shown, "agreement": agreed.model_dump(mode="json")} if agreed else shown)
    else:
        _show(found, results)
        if agreed:
            _show_agreement(agreed)
    if failed:
        raise WorkError(
            f"{failed} of {len(results)} responses were not annotated: {_first_error(results)}; run it again"
        )


def _tallied(results: list[dict[str, Any]]) -> FlawSummary | None:
    from calmstorm.evaluation import FlawTally

    tally = FlawTally()
    for row in results:
        if row["triggers"] is not None:
            tally.add((row.get("stage"), row["id"]), row["triggers"])
    return tally.summary()


def _summary(found: FlawSummary | None) -> dict[str, object]:
    """Rates are means over problems; without a response they are 0 and have no interval."""
    if found is None:
        return {"responses": 0, "flawless": 0, "rates": dict.fromkeys(map(str, range(1, 8)), 0.0), "ci95": {}}
    return {
        "responses": found.responses,
        "flawless": found.flawless_count,
        "rates": {str(t): round(rate.mean, 4) for t, rate in found.triggers.items()},
        "ci95": {str(t): [round(end, 4) for end in rate.ci95] for t, rate in found.triggers.items()},
    }


def _show(found: FlawSummary | None, results: list[dict[str, Any]]) -> None:
    from calmstorm.commands.eval_results import interval
    from calmstorm.records import Trigger

    if found is None:
        say("no response was annotated")
        return
    counts = Counter(trigger for row in results for trigger in row["triggers"] or [])
    names = {t: Trigger(t).name.lower().replace("_", " ") for t in range(1, 8)}
    table(
        ["trigger", "responses", "rate", "95 % interval"],
        [
            [f"{t} {names[t]}", str(counts[t]), f"{rate.mean:.1%}", interval(rate.ci95)]
            for t, rate in found.triggers.items()
        ]
        + [["flawless", str(found.flawless_count), f"{found.flawless.mean:.1%}", interval(found.flawless.ci95)]],
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


def _by_rules(rows: Iterable[FlawRow], kept: KeptFlaws | None) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for row in rows:
        found = row.find()
        excerpt = row.response[found[0].start : found[0].end].strip()[:EXCERPT] if found else ""
        results.append({**row.identity, "triggers": [int(f.trigger) for f in found], "excerpt": excerpt})
        if kept:
            kept.keep(row, results[-1]["triggers"])
    return results


def _by_llm(rows: Iterable[FlawRow], model: str, kept: KeptFlaws | None) -> tuple[str, list[dict[str, Any]]]:
    """Asks a model about every row; one that could not be annotated says why and has null triggers."""
    from calmstorm.intervener.llm import LlmAnnotator

    annotator = LlmAnnotator(model)
    rows = kept.open(rows, annotator.name) if kept else rows

    async def one(row: FlawRow) -> dict[str, Any]:
        try:
            found = await annotator.annotate(row.problem.question, row.response)
        except InfrastructureError as error:
            return {**row.identity, "triggers": None, "excerpt": "", "error": str(error)}
        triggers = [int(trigger) for trigger in found]
        if kept:
            kept.keep(row, triggers)
        return {**row.identity, "triggers": triggers, "excerpt": ""}

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


def _of_file(path: Path, limit: int | None) -> Iterator[FlawRow]:
    from calmstorm.problems.files import load_responses

    for each in load_responses(path, limit):
        identity: dict[str, object] = {"id": each.problem.id, **({"sample": each.sample} if each.sample else {})}
        yield FlawRow(identity, each.problem, each.response, partial(_find, each.problem, each.response))


def _find(problem: Problem, response: str) -> list[Finding]:
    from calmstorm.intervener.rules import find_flaws, named

    return named(find_flaws(problem, response))


def _of_run(path: Path, limit: int | None) -> Iterator[FlawRow]:
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
            yield FlawRow(identity, problem, without_hints(each.spans), partial(annotate, problem, each))
