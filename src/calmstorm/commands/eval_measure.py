"""`calm eval --problems`: measures a Reasoner, in a run directory if one is named."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calmstorm.commands.console import note
from calmstorm.commands.eval_results import Results
from calmstorm.commands.eval_sources import Sources
from calmstorm.records import Stage

if TYPE_CHECKING:
    from calmstorm.commands.reasoners import Opened
    from calmstorm.records import Trajectory, TrajectoryKey
    from calmstorm.runs import RunDirectory
    from calmstorm.settings import EvaluationSettings, RolloutSettings

_STAGE = Stage.BASE


class Plan(NamedTuple):
    """What is measured, and how."""

    sources: Sources
    reasoner: str
    model: str | None
    bounds: RolloutSettings
    how: EvaluationSettings
    seed: int


def measure(plan: Plan, run: Path | None, as_json: bool) -> None:
    """Runs the rollouts that are missing and shows what they came to."""
    from calmstorm.commands.reasoners import open_reasoner

    results = Results(keep_rows=as_json)
    for problem in plan.sources:
        results.add_problem(problem)
    opened = open_reasoner(plan.reasoner, plan.model)
    results.prompt = opened.prompt
    if run is None:
        asyncio.run(_rollouts(plan, opened, None, results, frozenset()))
    else:
        from calmstorm.runs import RunDirectory

        with RunDirectory(run) as directory:
            directory.keep_config(_settings(plan, opened))
            done = _add_run(results, directory, _keep_problems(directory, plan.sources), plan.how.samples)
            with directory.stage(_STAGE):
                asyncio.run(_rollouts(plan, opened, directory, results, done))
    results.show(plan.sources.title, as_json, budget(plan.bounds, plan.how))


def _settings(plan: Plan, opened: Opened) -> dict[str, object]:
    """Returns what must not change when a run is resumed."""
    return {
        "command": "eval",
        "problems": plan.sources.title,
        "reasoner": plan.reasoner,
        "model": plan.model,
        "prompt": opened.prompt,
        "seed": plan.seed,
        "rollout": plan.bounds.model_dump(exclude={"concurrency", "workers"}),
        "evaluation": plan.how.model_dump(exclude={"samples"}),
    }


def _keep_problems(directory: RunDirectory, sources: Sources) -> set[str]:
    """Adds the problems to the run, those that are not there yet; returns the ids of them all."""
    from calmstorm.records import Problem

    there = {problem.id for problem in directory.read("problems", Problem)}
    ids = set()
    for problem in sources:
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


def budget(bounds: RolloutSettings, how: EvaluationSettings) -> dict[str, object]:
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


async def _rollouts(
    plan: Plan, opened: Opened, directory: RunDirectory | None, results: Results, done: frozenset[TrajectoryKey]
) -> None:
    from calmstorm.evaluation import evaluate
    from calmstorm.interpreter import Interpreter
    from calmstorm.progress import track
    from calmstorm.reasoner.protocol import Sampling

    bounds, how = plan.bounds, plan.how
    total = plan.sources.gradable * how.samples
    try:
        with (
            Interpreter(workers=bounds.workers, tier=bounds.tier) as interpreter,
            track("rollouts", total, len(done)) as advance,
        ):

            def keep(trajectory: Trajectory) -> None:
                if directory is not None:
                    directory.append("trajectories", trajectory)
                results.add(trajectory)
                advance(f"{results.correct}/{results.answers} correct")

            await evaluate(
                plan.sources,
                opened.reasoner,
                interpreter,
                samples=how.samples,
                limits=bounds,
                sampling=Sampling(temperature=how.temperature, top_p=how.top_p),
                stage=_STAGE,
                on_trajectory=keep,
                concurrency=bounds.concurrency,
                seed=plan.seed,
                done=done,
                tolerance=how.tolerance,
                context_tokens=opened.context_tokens,
            )
    finally:
        await opened.reasoner.close()
