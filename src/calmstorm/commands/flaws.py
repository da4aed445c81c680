"""`calm flaws`: which of the seven triggers responses show (paper appendix J: at most two each), and who agrees."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, note, say, table
from calmstorm.errors import InfrastructureError, InputError, WorkError
from calmstorm.printable import percent, percent_interval
from calmstorm.records import Trigger

if TYPE_CHECKING:
    from calmstorm.evaluation import Agreement, FlawSummary
    from calmstorm.intervener.rules import Assessment
    from calmstorm.records import Problem, Trajectory
    from calmstorm.stages import KeptFlaws

EXCERPT = 160
"""Characters of the first flawed passage that are shown."""
Labels = dict[str, tuple[int, ...]]
"""Triggers by response."""
BATCH = 64
"""Responses sent to a model before the next are read."""


class Response(NamedTuple):
    """A response to annotate."""

    identity: dict[str, object]
    problem: Problem
    text: str
    """Without what hints say."""
    assess: Callable[[], Assessment]
    """Asks the rules."""
    trajectory: Trajectory | None = None
    """Where it comes from a run."""


def register(app: typer.Typer) -> None:
    """Adds `flaws`."""
    app.command("flaws")(flaws)


def flaws(
    responses: Annotated[
        Path,
        typer.Option(
            "--responses",
            metavar="FILE|RUN",
            help="Rows of problem, ground_truth, response; or a run directory.",
            show_default=False,
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option(help="Labels to compare with: rows of id and triggers, by people or by another annotator."),
    ] = None,
    annotator: Annotated[str, typer.Option("--annotator", help="rules or llm.")] = "rules",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="Model of the llm annotator, at CALM_INTERVENER_URL.",
            show_default="the run's intervener.model, or gemini-2.5-pro",
        ),
    ] = None,
    limit: options.Limit = None,
    override: options.Override = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the triggers of a run's evaluated responses in it, for reports.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Name the flaws of responses: which triggers, in order of appearance, and where the first one is."""
    if annotator not in ("rules", "llm"):
        raise InputError(f"annotator is '{annotator}'; it must be rules or llm: set --annotator")
    if keep and not responses.is_dir():
        raise InputError(f"--keep writes into a run, and {responses} is none: name a run directory with --responses")
    with ExitStack() as stack:
        rows = _of_run(responses, limit) if responses.is_dir() else _of_file(responses, limit)
        labels = _labels(against) if against is not None else None
        if annotator == "rules":
            annotate: Annotate = _by_rules
            name = annotator
        else:
            changes = options.changes(override, {"intervener.model": model})
            annotate, name = _llm_annotator(responses, changes)
        kept = _kept(responses, name, stack) if keep else None
        if kept is not None:
            rows = (row for row in rows if row.trajectory is not None and kept.is_open(row.trajectory))
        results = annotate(rows, kept)
    _present(results, name, labels, against, as_json)
    errors = [str(row["error"]) for row in results if row["triggers"] is None]
    if errors:
        raise WorkError(f"{len(errors)} of {len(results)} responses were not annotated: {errors[0]}; run it again")


def _present(
    results: list[dict[str, Any]], name: str, labels: Labels | None, against: Path | None, as_json: bool
) -> None:
    """Prints what an annotator found, and how it agrees with labels where there are any.

    Raises:
        InputError: The labels are of other responses.
    """
    summary = _tallied(results)
    annotated = [row for row in results if row["triggers"] is not None]
    sure = [row for row in annotated if row.get("sure")]
    agreed = _agreement(labels, annotated) if labels is not None else None
    agreed_sure = _agreement(labels, sure) if labels is not None else None
    if labels is not None and agreed is None:
        raise InputError(f"{against}: labels none of these responses; its ids must be those of the responses")
    if as_json:
        failed = len(results) - len(annotated)
        totals = {**_summary(summary), **_coverage(sure, annotated), "annotator": name, "failed": failed}
        shown = {"results": results, "summary": totals}
        compared = {"agreement": agreed, "agreement_sure": agreed_sure}
        emit(shown | {key: value.model_dump(mode="json") for key, value in compared.items() if value is not None})
        return
    _show(summary, results)
    _show_coverage(sure, annotated)
    if agreed:
        _show_agreement(agreed)
    if agreed_sure:
        say(f"Of the {agreed_sure.responses} that the rules are sure of: {_first_right(agreed_sure)}")


def _kept(path: Path, annotator: str, stack: ExitStack) -> KeptFlaws:
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import KeptFlaws

    RunDirectory(path, readonly=True)  # a folder that is no run is refused, not made one
    kept = KeptFlaws(stack.enter_context(RunDirectory(path)), annotator)
    if kept.done:
        note(f"{path / 'flaws.jsonl'}: {len(kept.done)} responses are annotated already")
    return kept


def _tallied(results: list[dict[str, Any]]) -> FlawSummary | None:
    from calmstorm.evaluation import FlawTally

    tally = FlawTally()
    for row in results:
        if row["triggers"] is not None:
            tally.add((row.get("stage"), row["id"]), row["triggers"])
    return tally.summary()


def _summary(summary: FlawSummary | None) -> dict[str, object]:
    """Rates are means over problems; without a response they are 0 and have no interval."""
    if summary is None:
        return {"responses": 0, "flawless": 0, "rates": dict.fromkeys(map(str, range(1, 8)), 0.0), "ci95": {}}
    return {
        "responses": summary.responses,
        "flawless": summary.flawless_count,
        "rates": {str(t): round(rate.mean, 4) for t, rate in summary.triggers.items()},
        "ci95": {str(t): [round(end, 4) for end in rate.ci95] for t, rate in summary.triggers.items()},
    }


def _show(summary: FlawSummary | None, results: list[dict[str, Any]]) -> None:
    if summary is None:
        say("no response was annotated")
        return
    counts = Counter(trigger for row in results for trigger in row["triggers"] or [])
    flawless = summary.flawless
    table(
        ["trigger", "responses", "rate", "95 % interval"],
        [
            [_named(number), str(counts[number]), percent(rate.mean), percent_interval(rate.ci95)]
            for number, rate in summary.triggers.items()
        ]
        + [["flawless", str(summary.flawless_count), percent(flawless.mean), percent_interval(flawless.ci95)]],
    )


def _named(trigger: int) -> str:
    return f"{trigger} {Trigger(trigger).label}"


def _labels(path: Path) -> Labels:
    from calmstorm.evaluation import read_labels

    return read_labels(path)


def _agreement(labels: Labels, annotated: list[dict[str, Any]]) -> Agreement | None:
    """Compares annotated responses with labels; None where they have none in common."""
    from calmstorm.evaluation import agreement
    from calmstorm.evaluation.agreement import label_name

    return agreement(labels, {label_name(row): row["triggers"] for row in annotated})


def _coverage(sure: Sequence[object], annotated: Sequence[dict[str, Any]]) -> dict[str, object]:
    """How many responses the rules are sure of; nothing for an annotator that does not say."""
    if not annotated or "sure" not in annotated[0]:
        return {}
    return {"sure": len(sure), "coverage": round(len(sure) / len(annotated), 4)}


def _show_coverage(sure: Sequence[object], annotated: Sequence[dict[str, Any]]) -> None:
    if covered := _coverage(sure, annotated):
        share = percent(len(sure) / len(annotated))
        say(f"sure of the first trigger, or that there is none: {covered['sure']} of {len(annotated)} ({share})")


def _first_right(agreed: Agreement) -> str:
    interval = percent_interval(agreed.first_accuracy_ci95)
    return f"the first trigger, or none, is that of the labels for {percent(agreed.first_accuracy)} ({interval})"


def _show_agreement(agreed: Agreement) -> None:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f}"

    table(
        ["trigger", "labelled", "found", "precision", "recall", "kappa"],
        [
            [
                _named(key),
                str(cell.both + cell.first_only),
                str(cell.both + cell.second_only),
                number(cell.precision),
                number(cell.recall),
                number(cell.kappa),
            ]
            for key, cell in agreed.triggers.items()
        ],
        "Against the labels",
    )
    same = f"{percent(agreed.accuracy)} ({percent_interval(agreed.accuracy_ci95)})"
    say(f"{agreed.responses} responses in common; the same triggers for {same}")
    say(_first_right(agreed))
    ends = "" if agreed.kappa_ci95 is None else f" ({agreed.kappa_ci95[0]:.2f} to {agreed.kappa_ci95[1]:.2f})"
    say(f"Cohen's kappa of the first trigger, or none: {number(agreed.kappa)}{ends}; 95 % intervals")
    missing = [(agreed.only_first, "labels without a response"), (agreed.only_second, "responses without a label")]
    for count, what in missing:
        if count:
            say(f"{count} {what}")


Annotate = Callable[[Iterable[Response], "KeptFlaws | None"], list[dict[str, Any]]]


def _by_rules(rows: Iterable[Response], kept: KeptFlaws | None) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for row in rows:
        assessment = row.assess()
        findings = assessment.findings
        excerpt = row.text[findings[0].start : findings[0].end].strip()[:EXCERPT] if findings else ""
        triggers = [int(flaw.trigger) for flaw in findings]
        certainty = {"sure": assessment.sure, "sure_triggers": [flaw.sure for flaw in findings]}
        doubt = {} if assessment.sure else {"doubt": assessment.doubt}
        results.append({**row.identity, "triggers": triggers, "excerpt": excerpt, **certainty, **doubt})
        if kept and row.trajectory:
            kept.keep(row.trajectory, results[-1]["triggers"])
    return results


def _llm_annotator(source: Path, changes: Mapping[str, str]) -> tuple[Annotate, str]:
    """Returns an annotator that asks a model about every row, and its name.

    Args:
        source: File or run; on a run its settings are taken, its prompt is known, and replies are kept in it.
        changes: Of settings, by dotted key.
    """
    from calmstorm.intervener.llm import LlmAnnotator
    from calmstorm.settings import changed, load_recipe
    from calmstorm.stages import recipe_of

    run = recipe_of(source) if source.is_dir() else None
    recipe = load_recipe(None, changes) if run is None else changed(run, changes, str(source))
    prompt = None if run is None else options.reasoner_prompt_of(run)
    annotator = LlmAnnotator(recipe.intervener, cache=source / options.REPLIES if source.is_dir() else None)

    async def annotate(row: Response, kept: KeptFlaws | None) -> dict[str, Any]:
        """Returns the result of a row; one that could not be annotated says why and has null triggers."""
        try:
            named = await annotator.annotate(row.problem.question, row.text, reasoner_prompt=prompt)
        except InfrastructureError as error:
            return {**row.identity, "triggers": None, "excerpt": "", "error": str(error)}
        triggers = [int(trigger) for trigger in named]
        if kept and row.trajectory:
            kept.keep(row.trajectory, triggers)
        return {**row.identity, "triggers": triggers, "excerpt": ""}

    async def annotate_all(rows: Iterable[Response], kept: KeptFlaws | None) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        remaining = iter(rows)
        try:
            while batch := list(islice(remaining, BATCH)):
                results += await asyncio.gather(*(annotate(row, kept) for row in batch))
        finally:
            await annotator.close()
        spent = annotator.spent
        note(f"{annotator.name}: {spent.prompt_tokens} prompt and {spent.completion_tokens} completion tokens")
        return results

    return lambda rows, kept: asyncio.run(annotate_all(rows, kept)), annotator.name


def _of_file(path: Path, limit: int | None) -> Iterator[Response]:
    from calmstorm.intervener.rules import assess
    from calmstorm.problems.files import load_responses

    for row in load_responses(path, limit):
        identity: dict[str, object] = {"id": row.problem.id, **({"sample": row.sample} if row.sample else {})}
        yield Response(identity, row.problem, row.response, partial(assess, row.problem, row.response))


def _of_run(path: Path, limit: int | None) -> Iterator[Response]:
    from calmstorm.intervener.rules import assess_trajectory
    from calmstorm.intervener.segments import without_hints
    from calmstorm.records import Problem
    from calmstorm.runs import RunDirectory

    with RunDirectory(path, readonly=True) as directory:
        problems = {problem.id: problem for problem in directory.read("problems", Problem)}
        for trajectory in islice(directory.trajectories(), limit):
            if trajectory.problem_id not in problems:
                raise WorkError(
                    f"{path}: problems.jsonl lacks {trajectory.problem_id!r}, which has trajectories; restore it"
                )
            stage, problem_id, sample, round_ = trajectory.key
            identity: dict[str, object] = {"id": problem_id, "stage": stage, "sample": sample, "round": round_}
            problem = problems[problem_id]
            text = without_hints(trajectory.spans)
            yield Response(identity, problem, text, partial(assess_trajectory, problem, trajectory), trajectory)
