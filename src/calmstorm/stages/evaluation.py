"""The evaluation stage: every sample of every test problem that is missing (paper section 4.1)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from calmstorm.evaluation import evaluate
from calmstorm.interpreter import Interpreter
from calmstorm.progress import Advance, track
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.reasoner.protocol import Sampling
from calmstorm.records import Problem, Stage, Trajectory, TrajectoryKey
from calmstorm.runs import RunDirectory
from calmstorm.samples import Meter, failure
from calmstorm.settings import Recipe
from calmstorm.stages.cards import add_scores
from calmstorm.stages.session import run_closing


def evaluate_model(
    load: Callable[[], OpenedReasoner],
    problems: Iterable[Problem],
    gradable: int,
    interpreter: Interpreter,
    recipe: Recipe,
    stage: Stage,
    *,
    run: RunDirectory | None = None,
    on_trajectory: Callable[[Trajectory], object] = lambda _: None,
) -> int:
    """Rolls out what is missing.

    Args:
        load: Opens the Reasoner; called only where something is missing.
        problems: What is asked; iterated twice where there is a run.
        gradable: How many problems these are.
        interpreter: Runs the scripts.
        recipe: Bounds, sampling, samples and seed.
        stage: Recorded in each trajectory.
        run: Keeps the trajectories, and has those of an earlier call.
        on_trajectory: Receives every trajectory, those that the run has first.

    Returns:
        How many rollouts the run had already.

    Raises:
        InfrastructureError: Nothing works any more; what was finished is kept.
        UnfinishedError: Some rollouts are left open; all others are done.
    """
    total = gradable * recipe.evaluation.samples
    counter = _Counter(on_trajectory)
    done = _kept(run, problems, recipe.evaluation.samples, stage, counter) if run is not None else set()
    if len(done) == total:
        if run is not None:
            add_scores(run, recipe, stage)
        return total

    with track(f"evaluate {stage}", total, len(done)) as bar:
        keeper = _Keeper(run, stage, counter, bar)

        async def work(opened: OpenedReasoner) -> None:
            await _evaluate_missing(problems, opened, interpreter, recipe, stage, done, keeper)

        run_closing(load, work, run, f"evaluate {stage}")
    if run is not None:
        add_scores(run, recipe, stage)
    return len(done)


async def _evaluate_missing(
    problems: Iterable[Problem],
    opened: OpenedReasoner,
    interpreter: Interpreter,
    recipe: Recipe,
    stage: Stage,
    done: Collection[TrajectoryKey],
    keeper: _Keeper,
) -> None:
    """Evaluates as a recipe says."""
    settings = recipe.evaluation
    await evaluate(
        problems,
        opened.reasoner,
        interpreter,
        samples=settings.samples,
        limits=recipe.rollout,
        sampling=Sampling(
            temperature=settings.temperature, top_p=settings.top_p, top_k=settings.top_k, min_p=settings.min_p
        ),
        stage=stage,
        on_trajectory=keeper.keep,
        concurrency=recipe.rollout.concurrency,
        seed=recipe.seed,
        done=done,
        tolerance=settings.tolerance,
        context_tokens=opened.context_tokens,
        on_failure=keeper.failed,
    )


def _kept(
    run: RunDirectory, problems: Iterable[Problem], samples: int, stage: Stage, counter: _Counter
) -> set[TrajectoryKey]:
    """Counts what a run has of these problems already, and returns its keys."""
    ids = {problem.id for problem in problems}
    done = set()
    for trajectory in run.trajectories(stage):
        if trajectory.problem_id in ids and trajectory.sample < samples:
            done.add(trajectory.key)
            counter.count(trajectory)
    return done


@dataclass
class _Counter:
    """Hands trajectories on and counts them, for the remark beside the bar."""

    hand_on: Callable[[Trajectory], object]
    answers: int = 0
    correct: int = 0

    def count(self, trajectory: Trajectory) -> str:
        self.answers += 1
        self.correct += bool(trajectory.verdict and trajectory.verdict.correct)
        self.hand_on(trajectory)
        return f"{self.correct}/{self.answers} correct"


@dataclass
class _Keeper:
    """Stores what comes of an evaluation, where there is a run, and shows how far it is."""

    run: RunDirectory | None
    stage: Stage
    counter: _Counter
    bar: Advance
    meter: Meter = field(default_factory=Meter)

    def keep(self, trajectory: Trajectory) -> None:
        """Takes in a trajectory; a failure of our machinery is counted, and not stored."""
        if self.run is not None and not trajectory.is_failure:
            self.run.append("trajectories", trajectory)
        self.meter.finish()
        self.bar(self.meter.remark(self.counter.count(trajectory)))

    def failed(self, problem: Problem, sample: int, reason: str) -> None:
        """Takes in why a rollout failed."""
        if self.run is not None:
            self.run.append("failures", failure(self.stage, problem, sample, 0, reason))
        self.meter.failures += 1
