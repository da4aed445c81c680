"""The curation stage: every sample of every problem through the hint loop (paper section 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from calmstorm.costs import cost, reasoner_model, require_prices
from calmstorm.curation.loop import SampleProgress, Sink, hint_loop
from calmstorm.interpreter import Interpreter
from calmstorm.intervener.protocol import Intervener
from calmstorm.progress import track
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.reasoner.protocol import Reasoner
from calmstorm.records import Intervention, Problem, Review, Stage, Trajectory, Usage
from calmstorm.rollout import CodeRunner
from calmstorm.runs import RunDirectory
from calmstorm.samples import Meter, Sample, Work, failure
from calmstorm.settings import Recipe
from calmstorm.stages.curated import Curated, read_curated
from calmstorm.stages.problems import keep_problems
from calmstorm.stages.session import run_closing


class SampleRunner(Protocol):
    """Takes one sample to its end, here or elsewhere; `HintLoop` is one."""

    async def run(self, problem: Problem, sample: int, progress: SampleProgress) -> SampleProgress:
        """As `HintLoop.run`."""
        ...


MakeRunner = Callable[[Sink, Callable[[], bool]], SampleRunner]
"""Makes a runner that hands its pieces to a sink, and asks before each round whether it may go on."""


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


def is_curated(run: RunDirectory, recipe: Recipe, problems: Sequence[Problem]) -> bool:
    """Whether a run has all samples of these problems, finished."""
    samples, settings = read_curated(run).samples, recipe.curation
    keys = ((problem.id, sample) for problem in problems for sample in range(settings.samples))
    return all(key in samples and samples[key].is_finished(settings.interventions) for key in keys)


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
        run: Receives problems, trajectories, interventions, reviews and failures at once.
        recipe: Bounds, sampling, samples, budget, prices and seed.
        problems: What to curate on, with unique ids.
        reasoner: Makes the attempts; it stays open.
        interpreter: Runs their code.
        intervener: Reviews them; it stays open.

    Raises:
        InputError: A server refuses what it is asked, or the budget has no prices; nothing further is started.
        InfrastructureError: Nothing works any more; what was finished is kept.
        UnfinishedError: Some samples are left open; all others are done.
        BudgetSpentError: The budget is spent; what was in flight has ended its round.
    """

    def local_loop(sink: Sink, may_go_on: Callable[[], bool]) -> SampleRunner:
        return hint_loop(recipe, reasoner, interpreter, intervener, sink, may_go_on)

    await curate_with(run, recipe, problems, local_loop)


async def curate_with(
    run: RunDirectory,
    recipe: Recipe,
    problems: Sequence[Problem],
    make_runner: MakeRunner,
    concurrency: int | None = None,
) -> None:
    """Curates with whatever takes the single samples to their ends; this process alone writes. See `curate`.

    Args:
        run: Receives all pieces at once.
        recipe: Bounds, samples, budget and prices.
        problems: What to curate on, with unique ids.
        make_runner: Makes what takes the samples to their ends.
        concurrency: Samples in flight at once; None means the recipe's.
    """
    require_prices(recipe)
    keep_problems(run, problems)
    settings = recipe.curation
    curated = read_curated(run, recipe.budget)
    samples, spending = curated.samples, curated.spending

    def unfinished() -> Iterator[Sample]:
        for problem in problems:
            for sample in range(settings.samples):
                known = samples.get((problem.id, sample))
                if known is None or not known.is_finished(settings.interventions):
                    yield problem, sample

    total = len(problems) * settings.samples
    remaining = sum(1 for _ in unfinished())
    with track("curation", total, total - remaining) as bar:
        meter = Meter()
        runner = make_runner(_sink(run, recipe, curated), lambda: not spending.spent())

        async def attempt(problem: Problem, sample: int) -> SampleProgress | None:
            progress = await runner.run(problem, sample, samples[problem.id, sample].progress(run))
            return progress if progress.is_finished(settings.interventions) else None

        def done(_: SampleProgress) -> None:
            meter.finish()
            bar(meter.remark(spending.remark()))

        def failed(problem: Problem, sample: int, reason: str) -> None:
            round_ = len(samples[problem.id, sample].reviews)
            run.append("failures", failure(Stage.CURATION, problem, sample, round_, reason))
            meter.failures += 1

        at_once = concurrency or recipe.rollout.concurrency
        await Work(attempt, done, failed, at_once, spending.spent, kept=total - remaining).run(unfinished())


def _sink(run: RunDirectory, recipe: Recipe, curated: Curated) -> Sink:
    """Stores pieces with what they cost, and keeps count of them."""

    def trajectory(piece: Trajectory) -> None:
        sent, drawn = piece.requested()
        price = cost(recipe.prices, reasoner_model(recipe), Usage(prompt_tokens=sent, completion_tokens=drawn))
        priced = piece.model_copy(update={"usage": piece.usage.model_copy(update={"cost": price})})
        place = run.append_trajectory(priced)
        curated.samples[piece.problem_id, piece.sample].add_round(place)
        curated.spending.reasoner.add(place.sent, place.drawn, place.seconds, place.cost)

    def intervention(piece: Intervention) -> None:
        offset = run.append("interventions", piece)
        sample = curated.samples[piece.problem_id, piece.sample]
        sample.interventions = (*sample.interventions, offset)

    def review(piece: Review) -> None:
        price = cost(recipe.prices, recipe.intervener.model, piece.usage)
        priced = piece.model_copy(update={"usage": piece.usage.model_copy(update={"cost": price})})
        offset = run.append("reviews", priced)
        curated.samples[piece.problem_id, piece.sample].add_review(offset, priced)
        curated.spending.add_review(priced.usage)

    return Sink(trajectory=trajectory, intervention=intervention, review=review)
