"""The curation stage: every sample of every problem through the hint loop (paper section 3.2)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence

from calmstorm.curation.loop import HintLoop, SampleProgress, Sink
from calmstorm.errors import InfrastructureError
from calmstorm.interpreter import Interpreter
from calmstorm.intervener.protocol import Intervener
from calmstorm.intervener.steps import IntervenerSteps
from calmstorm.progress import Advance, track
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.reasoner.protocol import Reasoner, Sampling
from calmstorm.records import Intervention, Problem, Review, Stage
from calmstorm.rollout import CodeRunner
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe
from calmstorm.stages.problems import keep_problems
from calmstorm.stages.session import run_closing


def curation_stage(
    run: RunDirectory,
    recipe: Recipe,
    problems: Sequence[Problem],
    load: Callable[[], OpenedReasoner],
    interpreter: Interpreter,
    intervener: Intervener,
) -> None:
    """Opens a Reasoner, curates, and closes Reasoner and Intervener; see `curate`."""

    async def work(opened: OpenedReasoner) -> None:
        try:
            await curate(run, recipe, problems, opened.reasoner, interpreter, intervener)
        finally:
            await intervener.close()

    run_closing(load, work, run, Stage.CURATION)


async def curate(
    run: RunDirectory,
    recipe: Recipe,
    problems: Sequence[Problem],
    reasoner: Reasoner,
    interpreter: CodeRunner,
    intervener: Intervener,
) -> None:
    """Takes every sample of every problem through the hint loop, from where an earlier call left it.

    Args:
        run: Receives problems, trajectories, interventions and reviews at once.
        recipe: Bounds, sampling, samples and seed.
        problems: What to curate on, with unique ids.
        reasoner: Makes the attempts; it stays open.
        interpreter: Runs their code.
        intervener: Reviews them; it stays open.

    Raises:
        InputError: A server refuses what it is asked; nothing further is started.
        InfrastructureError: The Reasoner or the Intervener could not be asked about some samples; all others are done.
    """
    settings = recipe.curation
    keep_problems(run, problems)
    progress = curation_progress(run)
    samples = [(problem, sample) for problem in problems for sample in range(settings.samples)]
    unfinished = [
        (problem, sample)
        for problem, sample in samples
        if not progress[problem.id, sample].is_finished(settings.interventions)
    ]
    loop = HintLoop(
        reasoner,
        interpreter,
        intervener,
        limits=recipe.rollout,
        sampling=Sampling(temperature=recipe.rollout.temperature, top_p=recipe.rollout.top_p),
        sink=_sink(run),
        seed=recipe.seed,
        most_interventions=settings.interventions,
        steps=IntervenerSteps(intervener) if recipe.intervener.review == "steps" else None,
    )
    with track("curation", len(samples), len(samples) - len(unfinished)) as advance:
        failures = await _curate_samples(loop, unfinished, progress, recipe.rollout.concurrency, advance)
    if failures:
        raise InfrastructureError(
            f"{len(failures)} of {len(unfinished)} samples are not finished ({failures[0]}); "
            "the rest is kept: resume the run"
        )


async def _curate_samples(
    loop: HintLoop,
    samples: Sequence[tuple[Problem, int]],
    progress: dict[tuple[str, int], SampleProgress],
    concurrency: int,
    advance: Advance,
) -> list[InfrastructureError]:
    """Takes samples to their ends, `concurrency` at once; returns the failures of those that have none."""
    slots = asyncio.Semaphore(concurrency)
    failures: list[InfrastructureError] = []

    async def curate_sample(problem: Problem, sample: int) -> None:
        async with slots:
            try:
                await loop.run(problem, sample, progress[problem.id, sample])
            except InfrastructureError as error:
                failures.append(error)
        advance("")

    try:
        async with asyncio.TaskGroup() as tasks:
            for problem, sample in samples:
                tasks.create_task(curate_sample(problem, sample))
    except ExceptionGroup as group:  # the first is the reason, the others follow from it
        raise group.exceptions[0] from None
    return failures


def curation_progress(run: RunDirectory) -> dict[tuple[str, int], SampleProgress]:
    """Reads how far each (problem, sample) of a run has been curated."""
    progress: dict[tuple[str, int], SampleProgress] = defaultdict(SampleProgress)
    for trajectory in run.trajectories(Stage.CURATION):
        progress[trajectory.problem_id, trajectory.sample].trajectories.append(trajectory)
    for intervention in run.read("interventions", Intervention):
        progress[intervention.problem_id, intervention.sample].interventions.append(intervention)
    for review in run.read("reviews", Review):
        progress[review.problem_id, review.sample].reviews.append(review)
    return progress


def _sink(run: RunDirectory) -> Sink:
    return Sink(
        trajectory=lambda trajectory: run.append("trajectories", trajectory),
        intervention=lambda intervention: run.append("interventions", intervention),
        review=lambda review: run.append("reviews", review),
    )
