"""Rollouts for reinforcement learning: made by the package's one loop, graded, and encoded for the trainer.

Seeds depend on (run seed, step, problem, sample) alone, so a resumed training draws what an uninterrupted one would.
A rollout that our machinery failed is tried once more; if that fails too it has no reward: it is left out of its
group's mean and of the loss, never scored as wrong. Any other is graded as everywhere (`grading.grade_rollout`): what
ended it does not matter, its answer does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from calmstorm.errors import InputError
from calmstorm.grading import grade_rollout, reward
from calmstorm.reasoner.protocol import Prefix, Reasoner, Sampling
from calmstorm.records import Author, Problem, Record, StopReason, VerdictStatus
from calmstorm.rollout import CodeRunner, Rollout, rollout
from calmstorm.rollout.spans import RL_AUTHORS, response_ids, response_mask
from calmstorm.settings import RlSettings, RolloutLimits, RolloutSettings, derive_seed
from calmstorm.training.clock import Activity, RolloutClock, TimedReasoner, TimedRunner
from calmstorm.training.encode import prompt_ids


@dataclass(frozen=True)
class RolloutTask:
    """One rollout to make."""

    step: int
    """From 1."""
    problem: Problem
    sample: int
    prompt: Prefix


class RlRollout(Record):
    """One rollout of reinforcement learning, graded. Unique within a run by step, problem and sample."""

    step: int
    """From 1."""
    problem_id: str
    sample: int
    rollout: Rollout
    reward: float | None
    """1 or 0; None where our machinery failed, or there is no label."""
    answered: bool = False
    """Whether an answer could be read."""


class TokenRecord(Record):
    """A rollout as token ids, log-probabilities and mask."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    """Never empty."""
    logprobs: tuple[float, ...]
    """As many as `completion_ids`; 0 for tokens that the Reasoner did not write."""
    written: tuple[bool, ...]
    """As many as `completion_ids`: True where the Reasoner wrote the token; only those are learned."""
    reward: float | None
    """None where the rollout says nothing about the Reasoner; it is left out of its group."""
    answered: bool = False
    """Whether an answer could be read; some objectives reward that."""


async def roll_out(
    tasks: Sequence[RolloutTask],
    reasoner: Reasoner,
    interpreter: CodeRunner,
    settings: RlSettings,
    rollouts: RolloutSettings,
    seed: int,
    clock: RolloutClock | None = None,
) -> list[RlRollout]:
    """Makes and grades all rollouts, at most `rollouts.concurrency` at a time; in the order of `tasks`.

    Args:
        tasks: What to make.
        reasoner: Who writes.
        interpreter: Who runs what is written.
        settings: Sampling and response length.
        rollouts: Bounds of executions, and concurrency.
        seed: Of the run.
        clock: Told what the rollouts are doing.
    """
    limits = rollouts.model_copy(update={"response_tokens": settings.response_tokens})
    slots = asyncio.Semaphore(rollouts.concurrency)

    async def make(task: RolloutTask) -> RlRollout:
        own_seed = derive_seed(seed, "rl", task.step, task.problem.id, task.sample)
        sampling = Sampling(temperature=settings.temperature, top_p=settings.top_p, seed=own_seed)
        async with slots:
            return await make_rollout(task, reasoner, interpreter, limits=limits, sampling=sampling, clock=clock)

    return list(await asyncio.gather(*map(make, tasks)))


async def make_rollout(
    task: RolloutTask,
    reasoner: Reasoner,
    interpreter: CodeRunner,
    *,
    limits: RolloutLimits,
    sampling: Sampling,
    clock: RolloutClock | None = None,
) -> RlRollout:
    """Makes and grades one rollout, which gets a second try where our machinery fails it."""
    clock = clock or RolloutClock()
    writer, runner = TimedReasoner(reasoner, clock), TimedRunner(interpreter, clock)
    made = await rollout(writer, runner, task.prompt, limits=limits, sampling=sampling)
    if made.stop_reason is StopReason.INFRASTRUCTURE:
        made = await rollout(writer, runner, task.prompt, limits=limits, sampling=sampling)
    with clock.during(Activity.SCORE):
        return graded(task, made)


def graded(task: RolloutTask, made: Rollout) -> RlRollout:
    """Grades a rollout: 1 for a correct one, 0 for any other, None where it says nothing about the Reasoner."""
    verdict = grade_rollout(task.problem, made.spans, made.stop_reason)
    earned = reward(verdict) if verdict.status.is_judged else None
    return RlRollout(
        step=task.step,
        problem_id=task.problem.id,
        sample=task.sample,
        rollout=made,
        reward=earned,
        answered=verdict.status in (VerdictStatus.CORRECT, VerdictStatus.WRONG),
    )


def token_record(made: RlRollout, end_of_turn: int) -> TokenRecord:
    """Encodes a rollout for the trainer.

    Args:
        made: From a Reasoner that gives token ids.
        end_of_turn: Stands in for the response of a rollout that failed before its first token.

    Raises:
        InputError: The Reasoner gives text only, or no log-probabilities.
    """
    prompt = prompt_ids(made.rollout.prompt)
    spans = made.rollout.spans
    completion = response_ids(spans)
    if not completion:
        return TokenRecord(
            prompt_ids=prompt, completion_ids=(end_of_turn,), logprobs=(0.0,), written=(False,), reward=made.reward
        )
    logprobs: list[float] = []
    for span in spans:
        if span.author is not Author.REASONER:
            logprobs += [0.0] * len(response_ids([span]))
        elif span.logprobs is None:
            raise InputError(
                "the Reasoner gives no log-probabilities; reinforcement needs them: use a local model directory"
            )
        else:
            logprobs += span.logprobs
    return TokenRecord(
        prompt_ids=prompt,
        completion_ids=completion,
        logprobs=tuple(logprobs),
        written=response_mask(spans, RL_AUTHORS),
        reward=made.reward,
        answered=made.answered,
    )
