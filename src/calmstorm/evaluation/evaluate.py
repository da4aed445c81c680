"""Runs the rollouts of an evaluation: k samples of each problem, graded and passed on as they end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field

from calmstorm.errors import InfrastructureError
from calmstorm.grading import TOLERANCE, graded_trajectory
from calmstorm.reasoner.protocol import Prefix, Reasoner, Sampling
from calmstorm.records import Problem, Stage, StopReason, Trajectory, TrajectoryKey, Usage
from calmstorm.rollout import CodeRunner, Rollout, RolloutLimits, rollout
from calmstorm.settings import derive_seed

_PATIENCE = 8
"""Rollouts in a row, or as many as are in flight, that our machinery may fail before the evaluation ends."""


async def evaluate(
    problems: Iterable[Problem],
    reasoner: Reasoner,
    interpreter: CodeRunner,
    *,
    samples: int,
    limits: RolloutLimits,
    sampling: Sampling,
    stage: Stage,
    on_trajectory: Callable[[Trajectory], object],
    concurrency: int = 64,
    seed: int = 0,
    done: Collection[TrajectoryKey] = (),
    tolerance: float = TOLERANCE,
    context_tokens: int | None = None,
) -> int:
    """Runs every sample of every problem that is not done yet.

    Problems are drawn as there is room, and a trajectory is passed on and forgotten when it ends: memory grows with
    `concurrency` alone. Each rollout has its own seed, derived from `seed`, the stage, the problem and the sample, so
    that neither order nor resuming changes what is drawn.

    Args:
        problems: With unique ids; may be endless.
        reasoner: Asked for `concurrency` rollouts at once.
        interpreter: Runs their code.
        samples: Rollouts per problem.
        limits: Of each rollout.
        sampling: Its seed is replaced.
        stage: Recorded in each trajectory.
        on_trajectory: Called in the event loop with each graded trajectory, in the order they end.
        concurrency: Rollouts in flight.
        seed: Of the evaluation.
        done: Keys (stage, problem id, sample, 0) that are left out.
        tolerance: Relative tolerance, unless a problem has its own.
        context_tokens: Prompt and response together, where the Reasoner is bounded; responses are shortened to fit, and
            a prompt that leaves no room is recorded as one that ran out of length.

    Returns:
        How many rollouts were passed on.

    Raises:
        InfrastructureError: Our machinery failed every rollout in flight; those are not passed on, so that resuming
            runs them again.
    """
    keys = frozenset(done)
    work = _pending(problems, samples, stage, keys)
    deliveries = _Deliveries(on_trajectory, patience=max(_PATIENCE, concurrency), any_good=bool(keys))

    async def worker() -> None:
        for problem, sample in work:  # shared by all workers, which take turns within one event loop
            own = sampling.model_copy(update={"seed": derive_seed(seed, stage, problem.id, sample)})
            prompt = reasoner.render(problem.question)
            result = await _fitted_rollout(reasoner, interpreter, prompt, limits, own, context_tokens)
            deliveries.take(graded_trajectory(problem, result, stage=stage, sample=sample, tolerance=tolerance))

    await _together(worker, concurrency)
    deliveries.finish()
    return deliveries.delivered


async def _together(worker: Callable[[], Coroutine[None, None, None]], count: int) -> None:
    """Runs several workers at once; when one raises, the others are cancelled."""
    tasks = [asyncio.create_task(worker()) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _fitted_rollout(
    reasoner: Reasoner,
    interpreter: CodeRunner,
    prompt: Prefix,
    limits: RolloutLimits,
    sampling: Sampling,
    context_tokens: int | None,
) -> Rollout:
    """Runs a rollout within what the prompt leaves of the context; where it leaves nothing, it ended by length."""
    if context_tokens is not None and prompt.token_ids is not None:
        room = min(limits.response_tokens, context_tokens - len(prompt.token_ids))
        if room <= 0:
            usage = Usage(prompt_tokens=len(prompt.token_ids))
            return Rollout(prompt=prompt, spans=(), stop_reason=StopReason.LENGTH, executions=(), usage=usage)
        limits = limits.model_copy(update={"response_tokens": room})
    return await rollout(reasoner, interpreter, prompt, limits=limits, sampling=sampling)


@dataclass
class _Deliveries:
    """Hands trajectories on, and tells a broken machine from a rollout that happened to fail."""

    deliver: Callable[[Trajectory], object]
    patience: int
    any_good: bool
    delivered: int = 0
    held: list[Trajectory] = field(default_factory=list)
    """Failed by our machinery since the last good one; recorded only once things are seen to work."""

    def take(self, trajectory: Trajectory) -> None:
        self.held.append(trajectory)
        if trajectory.stop_reason is not StopReason.INFRASTRUCTURE:
            self.any_good = True
            self._release()
        elif len(self.held) >= self.patience:
            raise self._broken()

    def finish(self) -> None:
        if self.held and not self.any_good:
            raise self._broken()
        self._release()

    def _release(self) -> None:
        for trajectory in self.held:
            self.deliver(trajectory)
            self.delivered += 1
        self.held.clear()

    def _broken(self) -> InfrastructureError:
        return InfrastructureError(
            f"{len(self.held)} rollouts in a row failed for want of a working Reasoner or Interpreter; "
            "see that the server or model runs and `calm doctor` is content, then run the same command again"
        )


def _pending(
    problems: Iterable[Problem], samples: int, stage: str, done: Collection[TrajectoryKey]
) -> Iterator[tuple[Problem, int]]:
    for problem in problems:
        for sample in range(samples):
            if (stage, problem.id, sample, 0) not in done:
                yield problem, sample
