"""Runs the rollouts of an evaluation: k samples of each problem, graded and handed on as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator

from calmstorm import rollout as loop
from calmstorm.grading import TOLERANCE, graded_trajectory
from calmstorm.interpreter import Interpreter
from calmstorm.reasoner.protocol import Reasoner, Sampling
from calmstorm.records import Problem, Trajectory
from calmstorm.rollout import RolloutLimits
from calmstorm.settings import derive_seed

TrajectoryKey = tuple[str, str, int, int]
"""(stage, problem id, sample, round)."""


async def evaluate(
    problems: Iterable[Problem],
    reasoner: Reasoner,
    interpreter: Interpreter,
    *,
    samples: int,
    limits: RolloutLimits,
    sampling: Sampling,
    stage: str,
    on_trajectory: Callable[[Trajectory], object],
    concurrency: int = 64,
    seed: int = 0,
    done: Collection[TrajectoryKey] = (),
    tolerance: float = TOLERANCE,
) -> int:
    """Runs every sample of every problem that is not done yet.

    Problems are drawn as there is room, and a trajectory is handed on and forgotten when it ends: memory grows with
    `concurrency` alone. Each rollout has its own seed, derived from `seed`, the stage, the problem and the sample, so
    that neither order nor resuming changes what is drawn.

    Args:
        problems: with unique ids; may be endless.
        reasoner: asked for `concurrency` rollouts at once.
        interpreter: runs their code.
        samples: rollouts per problem.
        limits: of each rollout.
        sampling: its seed is replaced.
        stage: recorded in each trajectory.
        on_trajectory: called in the event loop with each graded trajectory, in the order they end.
        concurrency: rollouts in flight.
        seed: of the evaluation.
        done: keys (stage, problem id, sample, 0) that are left out.
        tolerance: relative tolerance, unless a problem has its own.

    Returns:
        How many rollouts were run.

    Raises:
        InfrastructureError: the Reasoner or the Interpreter cannot go on; what was handed on before is good.
    """
    work = _pending(problems, samples, stage, frozenset(done))
    finished = 0

    async def worker() -> None:
        nonlocal finished
        for problem, sample in work:  # shared by all workers, which take turns within one event loop
            own = sampling.model_copy(update={"seed": derive_seed(seed, stage, problem.id, sample)})
            result = await loop.rollout(
                reasoner, interpreter, reasoner.render(problem.question), limits=limits, sampling=own
            )
            on_trajectory(graded_trajectory(problem, result, stage=stage, sample=sample, tolerance=tolerance))
            finished += 1

    workers = [asyncio.create_task(worker()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return finished


def _pending(
    problems: Iterable[Problem], samples: int, stage: str, done: Collection[TrajectoryKey]
) -> Iterator[tuple[Problem, int]]:
    for problem in problems:
        for sample in range(samples):
            if (stage, problem.id, sample, 0) not in done:
                yield problem, sample
