"""`calm eval`: an accuracy one can trust, of a Reasoner or of responses that were made elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands.console import emit, note, table
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.evaluation import Summary
    from calmstorm.records import Problem, Trajectory, Verdict
    from calmstorm.runs import RunDirectory
    from calmstorm.settings import EvaluationSettings, RolloutSettings

_STAGE = "base"


def register(app: typer.Typer) -> None:
    """Adds `eval`."""
    app.command("eval")(evaluate_command)


def evaluate_command(
    problems: Annotated[Path | None, typer.Option(help="Problems: JSON Lines, JSON, CSV or parquet.")] = None,
    responses: Annotated[
        Path | None, typer.Option(help="Responses made elsewhere: rows of id, problem, ground_truth, response.")
    ] = None,
    reasoner: Annotated[str, typer.Option(help="'pocket', a model directory, or a server's base URL.")] = "pocket",
    model: Annotated[str | None, typer.Option(help="Model name on the server.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Rollouts per problem.")] = 8,
    question: Annotated[str | None, typer.Option(help="Column of the problem text.")] = None,
    answer: Annotated[str | None, typer.Option(help="Column of the answer.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run directory to keep trajectories in, and to resume.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 1,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Relative tolerance of the comparison.")] = 1e-3,
    response_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens per response, at most.")] = None,
    executions: Annotated[int | None, typer.Option(min=0, help="Executions per response, at most.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Rollouts in flight.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Scripts that run at once.")] = None,
    tier: Annotated[
        str | None, typer.Option(help="Isolation of scripts: auto, namespaces, landlock or unsafe.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure pass@1 with its 95 % interval, clustered by problem.

    Options that are not given have the paper's values, or those of the pocket recipe for the pocket Reasoner.
    """
    from calmstorm.settings import load_recipe

    if (problems is None) == (responses is None):
        raise InputError("give either --problems FILE or --responses FILE")
    if responses is not None:
        _score(responses, limit, tolerance, as_json)
        return
    assert problems is not None  # noqa: S101  one of the two is given
    given = {
        "rollout.response_tokens": response_tokens,
        "rollout.executions": executions,
        "rollout.concurrency": concurrency,
        "rollout.workers": workers,
        "rollout.tier": tier,
        "evaluation.samples": samples,
        "evaluation.temperature": temperature,
        "evaluation.top_p": top_p,
        "evaluation.tolerance": tolerance,
    }
    recipe = load_recipe(
        "pocket" if reasoner == "pocket" else None,
        {key: str(value) for key, value in given.items() if value is not None},
    )
    bounds, how = recipe.rollout, recipe.evaluation
    todo = _Todo(problems, question, answer, limit)
    results = _Results()
    if run is None:
        asyncio.run(_measure(todo, reasoner, model, bounds, how, seed, None, results))
    else:
        from calmstorm.runs import RunDirectory

        with RunDirectory(run) as directory:
            directory.keep_config(
                {
                    "command": "eval",
                    "problems": problems.name,
                    "reasoner": reasoner,
                    "model": model,
                    "seed": seed,
                    "rollout": bounds.model_dump(exclude={"concurrency", "workers"}),
                    "evaluation": how.model_dump(exclude={"samples"}),
                }
            )
            results.add_run(directory, _keep_problems(directory, todo), samples)
            with directory.stage(_STAGE):
                asyncio.run(_measure(todo, reasoner, model, bounds, how, seed, directory, results))
    results.show(problems.name, as_json)


class _Todo:
    """The problems of a file, read once to see that all of it is good and once more to run it."""

    def __init__(self, path: Path, question: str | None, answer: str | None, limit: int | None) -> None:
        from calmstorm.grading import is_gradable

        self._how = (path, question, answer, limit)
        self.rows = self.gradable = 0
        for problem in self._all():
            self.rows += 1
            self.gradable += is_gradable(problem)
        if not self.gradable:
            raise InputError(f"{path}: no row has a usable label; name the column of the answer with --answer")
        if self.gradable < self.rows:
            note(f"{self.rows - self.gradable} of {self.rows} rows have no usable label and are left out")

    def __iter__(self) -> Iterator[Problem]:
        from calmstorm.grading import is_gradable

        return (problem for problem in self._all() if is_gradable(problem))

    def _all(self) -> Iterator[Problem]:
        from calmstorm.problems.files import load_problems

        return load_problems(*self._how)


def _keep_problems(directory: RunDirectory, todo: _Todo) -> set[str]:
    """Adds the problems to the run, those that are not there yet; returns the ids of them all."""
    from calmstorm.records import Problem

    there = {problem.id for problem in directory.read("problems", Problem)}
    ids = set()
    for problem in todo:
        ids.add(problem.id)
        if problem.id not in there:
            directory.append("problems", problem)
    return ids


class _Results:
    """What is printed in the end: the small part of each trajectory, and the tally."""

    def __init__(self) -> None:
        from calmstorm.evaluation import Tally

        self.tally = Tally()
        self.correct = 0
        self.rows: list[dict[str, object]] = []
        self.done: set[tuple[str, str, int, int]] = set()

    def add(self, trajectory: Trajectory) -> None:
        verdict = trajectory.verdict
        self.tally.add_trajectory(trajectory)
        self.correct += bool(verdict and verdict.correct)
        self.rows.append(
            {
                "problem_id": trajectory.problem_id,
                "sample": trajectory.sample,
                "answer": trajectory.answer,
                "correct": bool(verdict and verdict.correct),
                "status": verdict.status.value if verdict else "ungraded",
            }
        )

    def add_run(self, directory: RunDirectory, ids: set[str], samples: int) -> None:
        """Takes over what a run has already done of these problems."""
        for trajectory in directory.trajectories(_STAGE):
            if trajectory.problem_id in ids and trajectory.sample < samples:
                self.done.add(trajectory.key)
                self.add(trajectory)
        if self.done:
            note(f"{directory.path}: {len(self.done)} rollouts are there already")

    def show(self, title: str, as_json: bool) -> None:
        summary = self.tally.summary()
        if as_json:
            emit({"results": self.rows, "summary": summary.model_dump(mode="json")})
        else:
            _print(title, summary)


async def _measure(
    todo: _Todo,
    reasoner: str,
    model: str | None,
    bounds: RolloutSettings,
    how: EvaluationSettings,
    seed: int,
    directory: RunDirectory | None,
    results: _Results,
) -> None:
    from calmstorm.commands.reasoners import open_reasoner
    from calmstorm.evaluation import evaluate
    from calmstorm.interpreter import Interpreter
    from calmstorm.progress import track
    from calmstorm.reasoner.protocol import Sampling
    from calmstorm.rollout import RolloutLimits

    limits = RolloutLimits(**bounds.model_dump(include=set(RolloutLimits.model_fields)))
    sampling = Sampling(temperature=how.temperature, top_p=how.top_p)
    total = todo.gradable * how.samples
    opened = open_reasoner(reasoner, model)
    with (
        Interpreter(workers=bounds.workers, tier=bounds.tier) as interpreter,
        track("rollouts", total, len(results.done)) as advance,
    ):

        def keep(trajectory: Trajectory) -> None:
            if directory is not None:
                directory.append("trajectories", trajectory)
            results.add(trajectory)
            advance(f"{results.correct}/{len(results.rows)} correct")

        try:
            await evaluate(
                todo,
                opened.reasoner,
                interpreter,
                samples=how.samples,
                limits=limits,
                sampling=sampling,
                stage=_STAGE,
                on_trajectory=keep,
                concurrency=bounds.concurrency,
                seed=seed,
                done=results.done,
                tolerance=how.tolerance,
                context_tokens=opened.context_tokens,
            )
        finally:
            await opened.reasoner.close()


def _score(path: Path, limit: int | None, tolerance: float, as_json: bool) -> None:
    """Grades responses that were made elsewhere."""
    from calmstorm.evaluation import Tally, count_code_blocks
    from calmstorm.grading import grade
    from calmstorm.problems.files import load_responses

    tally = Tally()
    rows: list[dict[str, object]] = []
    for row in load_responses(path, limit):
        verdict = grade(row.problem, row.response, tolerance=tolerance)
        tally.add(row.problem.suite, row.problem.id, verdict, code_blocks=count_code_blocks(row.response))
        rows.append(_row(row.problem.id, verdict))
    summary = tally.summary()
    if as_json:
        emit({"results": rows, "summary": summary.model_dump(mode="json", exclude={"response_tokens"})})
    else:
        _print(path.name, summary)


def _row(problem_id: str, verdict: Verdict) -> dict[str, object]:
    return {
        "id": problem_id,
        "answer": verdict.got,
        "correct": verdict.correct,
        "status": verdict.status.value,
        "protocol_ok": verdict.protocol_ok,
    }


def _print(title: str, summary: Summary) -> None:
    """Prints a summary for people."""
    if summary.pass_at_1 is None or summary.ci95 is None:
        rate = "nothing could be graded"
    else:
        low, high = summary.ci95
        rate = f"{summary.pass_at_1:.1%}  (95 % interval {low:.1%} to {high:.1%}, clustered by problem)"
    rows = [
        ["pass@1", rate],
        ["problems x samples", f"{summary.problems} x {summary.samples}"],
        ["code blocks a response", f"{summary.code_blocks:.2f}"],
        ["no answer", _share(summary.no_answer)],
        ["box as asked for", _share(summary.protocol_ok)],
    ]
    if summary.response_tokens:
        rows.append(["tokens a response", f"{summary.response_tokens:.0f}"])
    if summary.infrastructure:
        rows.append(["failed by our machinery", f"{summary.infrastructure} rollouts, in no rate"])
    if summary.ungraded:
        rows.append(["without usable label", f"{summary.ungraded} responses, in no rate"])
    table(["", ""], rows, title)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
