"""Runs the rollouts of an evaluation: k samples of each problem, graded and passed on as they end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from calmstorm.errors import InfrastructureError, UnfinishedError
from calmstorm.grading import TOLERANCE, graded_trajectory
from calmstorm.reasoner.protocol import Prefix, Reasoner, Sampling
from calmstorm.records import Problem, Stage, StopReason, Trajectory, TrajectoryKey, Usage
from calmstorm.rollout import CodeRunner, Rollout, RolloutLimits, rollout
from calmstorm.samples import Work
from calmstorm.settings import derive_seed


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
    on_failure: Callable[[Problem, int, str], object] = lambda problem, sample, reason: None,
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
        on_trajectory: Called in the event loop with each graded trajectory, in the order they end; last with what our
            machinery keeps failing, as such a trajectory, which is to be counted and not to be kept.
        concurrency: Rollouts in flight.
        seed: Of the evaluation.
        done: Keys (stage, problem id, sample, 0) that are left out.
        tolerance: Relative tolerance, unless a problem has its own.
        context_tokens: Prompt and response together, where the Reasoner is bounded; see `_Attempts.make`.
        on_failure: Called with problem, sample and reason each time our machinery fails a rollout; it is tried again.

    Returns:
        How many rollouts were passed on.

    Raises:
        InfrastructureError: Our machinery failed every rollout in flight.
        UnfinishedError: It keeps failing some rollouts; all others were passed on.
    """
    attempts = _Attempts(reasoner, interpreter, limits, sampling, stage, seed, tolerance, context_tokens)
    work = Work(attempts.make, on_trajectory, on_failure, concurrency, kept=len(done))
    try:
        await work.run(_pending(problems, samples, stage, frozenset(done)))
    except UnfinishedError:
        for left in work.open.values():
            on_trajectory(attempts.failed(left.problem, left.sample))
        raise
    return work.finished


@dataclass(frozen=True)
class _Attempts:
    """Makes the rollouts of an evaluation, one by one."""

    reasoner: Reasoner
    interpreter: CodeRunner
    limits: RolloutLimits
    sampling: Sampling
    stage: Stage
    seed: int
    tolerance: float
    context_tokens: int | None

    async def make(self, problem: Problem, sample: int) -> Trajectory:
        """Makes and grades one; it is shortened to fit the context.

        A prompt that leaves no room is recorded as one that ran out of length.

        Raises:
            InfrastructureError: Our machinery failed it.
        """
        own = self.sampling.model_copy(update={"seed": derive_seed(self.seed, self.stage, problem.id, sample)})
        prompt, limits = self.reasoner.render(problem.question), self.limits
        if self.context_tokens is not None and prompt.token_ids is not None:
            room = min(limits.response_tokens, self.context_tokens - len(prompt.token_ids))
            if room <= 0:
                return self._graded(problem, sample, _without_response(prompt, StopReason.LENGTH))
            limits = limits.model_copy(update={"response_tokens": room})
        result = await rollout(self.reasoner, self.interpreter, prompt, limits=limits, sampling=own)
        if result.stop_reason is StopReason.INFRASTRUCTURE:
            raise InfrastructureError(result.failure)
        return self._graded(problem, sample, result)

    def failed(self, problem: Problem, sample: int) -> Trajectory:
        """Returns what stands for a rollout that our machinery keeps failing."""
        return self._graded(problem, sample, _without_response(Prefix(text=""), StopReason.INFRASTRUCTURE))

    def _graded(self, problem: Problem, sample: int, result: Rollout) -> Trajectory:
        return graded_trajectory(problem, result, stage=self.stage, sample=sample, tolerance=self.tolerance)


def _without_response(prompt: Prefix, reason: StopReason) -> Rollout:
    usage = Usage(prompt_tokens=len(prompt.token_ids or ()))
    return Rollout(prompt=prompt, spans=(), stop_reason=reason, executions=(), usage=usage)


def _pending(
    problems: Iterable[Problem], samples: int, stage: str, done: Collection[TrajectoryKey]
) -> Iterator[tuple[Problem, int]]:
    for problem in problems:
        for sample in range(samples):
            if (stage, problem.id, sample, 0) not in done:
                yield problem, sample
