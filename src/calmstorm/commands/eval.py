"""`calm eval`: an accuracy one can trust, of a Reasoner or of responses that were made elsewhere.

Also the same answers against every version of the labels, and two evaluations compared problem by problem.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands.console import emit, note
from calmstorm.commands.eval_results import Results, print_comparison, print_versions
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.evaluation.evaluate import TrajectoryKey
    from calmstorm.problems.benchmarks import Version
    from calmstorm.records import Problem, Trajectory
    from calmstorm.runs import RunDirectory
    from calmstorm.settings import EvaluationSettings, RolloutSettings

_STAGE = "base"


def register(app: typer.Typer) -> None:
    """Adds `eval`."""
    app.command("eval")(evaluate_command)


def evaluate_command(
    problems: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|NAME",
            help="A file (JSON Lines, JSON, CSV or parquet) or a benchmark (nl4opt, nl4opt/llmopt); repeatable.",
        ),
    ] = None,
    responses: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|RUN[:STAGE]",
            help="Responses made elsewhere: rows of id, problem, ground_truth, response; or the answers of a run.",
        ),
    ] = None,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="FIRST SECOND", help="Compare two of what --responses takes, paired on the problems of both."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(help="With --responses: score them against all published versions, or those of a benchmark."),
    ] = None,
    reasoner: Annotated[str, typer.Option(help="'pocket', a model directory, or a server's base URL.")] = "pocket",
    model: Annotated[str | None, typer.Option(help="Model name on the server.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Rollouts per problem.")] = 8,
    folder: Annotated[Path | None, typer.Option(help="Folder of benchmark data; else that of CALM_BENCHMARKS.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch a benchmark that is not there from the Hugging Face hub.")
    ] = False,
    question: Annotated[str | None, typer.Option(help="Column of the problem text.")] = None,
    answer: Annotated[str | None, typer.Option(help="Column of the answer.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run directory to keep trajectories in, and to resume.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many rows of each source.")] = None,
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

    if sum(map(bool, (problems, responses, compare))) != 1:
        raise InputError("give one of --problems FILE|NAME, --responses FILE|RUN and --compare FIRST SECOND")
    if labels is not None and responses is None:
        raise InputError("--labels scores answers that are there: name them with --responses FILE|RUN")
    if compare:
        _compare(*compare, limit, tolerance, as_json)
        return
    if responses:
        _score(responses, labels, folder, limit, tolerance, as_json)
        return
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
    todo = _Todo(problems or [], folder, download, question, answer, limit)
    results = Results()
    for problem in todo:
        results.add_problem(problem)
    if run is None:
        asyncio.run(_measure(todo, reasoner, model, bounds, how, seed, None, results, frozenset()))
    else:
        from calmstorm.runs import RunDirectory

        with RunDirectory(run) as directory:
            directory.keep_config(
                {
                    "command": "eval",
                    "problems": todo.title,
                    "reasoner": reasoner,
                    "model": model,
                    "seed": seed,
                    "rollout": bounds.model_dump(exclude={"concurrency", "workers"}),
                    "evaluation": how.model_dump(exclude={"samples"}),
                }
            )
            done = _add_run(results, directory, _keep_problems(directory, todo), samples)
            with directory.stage(_STAGE):
                asyncio.run(_measure(todo, reasoner, model, bounds, how, seed, directory, results, done))
    results.show(todo.title, as_json, _budget(bounds, how))


class _Todo:
    """The problems of files and benchmarks, read once to see that all is good and once more to run them.

    With several sources an id may occur in two of them, so each gets its suite before it.
    """

    def __init__(
        self,
        sources: list[str],
        folder: Path | None,
        download: bool,
        question: str | None,
        answer: str | None,
        limit: int | None,
    ) -> None:
        from calmstorm.grading import is_gradable
        from calmstorm.problems.benchmarks import Kind

        self._sources = sources
        self._how = {"question": question, "answer": answer, "limit": limit, "download": download}
        self._folder = folder
        self.rows = self.gradable = 0
        names, ids = [], set()
        for source in sources:
            rows = gradable = 0
            problems, version = self._open(source)
            names.append(version.name if version else Path(source).name)
            if version and version.kind is not Kind.TEST:
                note(f"{version.name} is published for training: a score on it says nothing about new problems")
            for problem in problems:
                rows += 1
                gradable += is_gradable(problem)
                if len(sources) > 1:
                    if problem.id in ids:
                        raise InputError(
                            f"{source}: problem {problem.id} is in a source before it, too; name each source once"
                        )
                    ids.add(problem.id)
            if not gradable:
                raise InputError(f"{source}: no row has a usable label; name the column of the answer with --answer")
            if gradable < rows:
                note(f"{source}: {rows - gradable} of {rows} rows have no usable label and are left out")
            self.rows += rows
            self.gradable += gradable
        self.title = ", ".join(names)

    def __iter__(self) -> Iterator[Problem]:
        from calmstorm.grading import is_gradable

        return (problem for source in self._sources for problem in self._open(source)[0] if is_gradable(problem))

    def _open(self, source: str) -> tuple[Iterator[Problem], Version | None]:
        from calmstorm.problems.benchmarks import open_problems

        problems, version = open_problems(source, self._folder, **self._how)  # type: ignore[arg-type]
        if len(self._sources) == 1:
            return problems, version
        return (each.model_copy(update={"id": f"{each.suite}-{each.id}"}) for each in problems), version


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


def _add_run(results: Results, directory: RunDirectory, ids: set[str], samples: int) -> frozenset[TrajectoryKey]:
    """Takes over what a run has already done of these problems; returns the keys of it."""
    done = set()
    for trajectory in directory.trajectories(_STAGE):
        if trajectory.problem_id in ids and trajectory.sample < samples:
            done.add(trajectory.key)
            results.add(trajectory)
    if done:
        note(f"{directory.path}: {len(done)} rollouts are there already")
    return frozenset(done)


def _budget(bounds: RolloutSettings, how: EvaluationSettings) -> dict[str, object]:
    """Returns what a response may use: a score says little without it."""
    return {
        "samples": how.samples,
        "response_tokens": bounds.response_tokens,
        "executions": bounds.executions,
        "wall_seconds": bounds.wall_seconds,
        "memory_mb": bounds.memory_mb,
        "output_characters": bounds.output_characters,
        "temperature": how.temperature,
        "top_p": how.top_p,
        "tolerance": how.tolerance,
    }


async def _measure(
    todo: _Todo,
    reasoner: str,
    model: str | None,
    bounds: RolloutSettings,
    how: EvaluationSettings,
    seed: int,
    directory: RunDirectory | None,
    results: Results,
    done: frozenset[TrajectoryKey],
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
        track("rollouts", total, len(done)) as advance,
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
                done=done,
                tolerance=how.tolerance,
                context_tokens=opened.context_tokens,
            )
        finally:
            await opened.reasoner.close()


def _score(
    source: str, labels: str | None, folder: Path | None, limit: int | None, tolerance: float, as_json: bool
) -> None:
    """Grades responses that were made elsewhere, or shows the grades of a run; and, if asked, by all versions."""
    from calmstorm.evaluation.answers import is_run, read_answers
    from calmstorm.evaluation.versions import score_by_versions

    results = Results()
    for each in read_answers(source, limit, tolerance):
        results.add_answer(each)
    scores = None
    if labels is not None:
        versions, where = _versions(labels, folder)
        scores = score_by_versions(read_answers(source, limit, tolerance), versions, where, tolerance)
        if not scores.versions:
            raise InputError(f"{source}: no version of {labels} that is here has any of its problem texts")
    if as_json:
        shown = results.as_json()
        if not is_run(source):
            for unknown in ("response_tokens", "executions"):
                shown["summary"].pop(unknown)  # type: ignore[attr-defined]
        emit(shown if scores is None else {**shown, "labels": scores.model_dump(mode="json")})
        return
    results.show(source if is_run(source) else Path(source).name, as_json)
    if scores is not None:
        print_versions(scores)


def _versions(labels: str, folder: Path | None) -> tuple[list[Version], Path | None]:
    """Returns the versions that `--labels` means and that are there."""
    from calmstorm.problems.benchmarks import VERSIONS, Kind, benchmark_folder, locate, require, versions_of

    where = benchmark_folder(folder)
    if labels == "all":
        found = [version for version in VERSIONS if version.kind is Kind.TEST and locate(version, where)]
    else:
        named = [version for version in versions_of(labels) if version.kind is not Kind.DECLARATIONS]
        if not named:
            raise InputError(f"--labels is {labels!r}, which is published without answers; name another version")
        found = [version for version in named if locate(version, where)]
        if not found:
            require(named[0], where)
    if not found:
        raise InputError("no benchmark data are here; name their folder with --folder or CALM_BENCHMARKS")
    return found, where


def _compare(first: str, second: str, limit: int | None, tolerance: float, as_json: bool) -> None:
    """Compares two evaluations problem by problem."""
    from calmstorm.evaluation import macro_comparison
    from calmstorm.evaluation.answers import compare_answers, read_answers

    paired = compare_answers(read_answers(first, limit, tolerance), read_answers(second, limit, tolerance))
    macro = macro_comparison(paired.suites) if len(paired.suites) > 1 else None
    if as_json:
        shown = paired.model_dump(mode="json")
        emit({"first": first, "second": second, **shown, "macro": macro.model_dump(mode="json") if macro else None})
        return
    print_comparison(first, second, paired, macro)
