"""Rollouts for reinforcement: the package's one loop, graded, as records that training can trust.

Seeds depend on (run seed, step, problem, sample) alone, so a resumed training draws what an uninterrupted one would.
A rollout that our machinery failed is tried once more; if that fails too it has no reward: it is left out of its
group's mean and of the loss, never scored as wrong. A rollout that did not finish is wrong (paper: reward 0).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from calmstorm.errors import InputError
from calmstorm.grading import answer_text, grade, reward
from calmstorm.reasoner.protocol import Prefix, Reasoner, Sampling
from calmstorm.records import Author, Problem, Record, StopReason, Verdict
from calmstorm.rollout import CodeRunner, Rollout, RolloutLimits, rollout
from calmstorm.rollout.spans import RL_AUTHORS, response_ids, response_mask
from calmstorm.settings import derive_seed
from calmstorm.training.encode import TokenRecord, prompt_ids


class RlRollout(Record):
    """One rollout of reinforcement, graded. Its key within a run is (step, problem_id, sample)."""

    step: int
    """From 1."""
    problem_id: str
    sample: int
    rollout: Rollout
    verdict: Verdict
    reward: float | None
    """1 or 0; None where our machinery failed."""

    @property
    def key(self) -> tuple[int, str, int]:
        """What makes a rollout unique within a reinforcement run."""
        return (self.step, self.problem_id, self.sample)


class Request(Record):
    """One rollout to make."""

    step: int
    problem: Problem
    sample: int
    prompt: Prefix


async def roll_out(
    requests: Sequence[Request],
    reasoner: Reasoner,
    interpreter: CodeRunner,
    *,
    limits: RolloutLimits,
    sampling: Sampling,
    concurrency: int,
    seed: int,
) -> list[RlRollout]:
    """Makes all rollouts at once, at most `concurrency` in flight, and grades them; in the order of `requests`."""
    slots = asyncio.Semaphore(concurrency)

    async def one(request: Request) -> RlRollout:
        drawn = sampling.model_copy(
            update={"seed": derive_seed(seed, "rl", request.step, request.problem.id, request.sample)}
        )
        async with slots:
            made = await rollout(reasoner, interpreter, request.prompt, limits=limits, sampling=drawn)
            if made.stop_reason is StopReason.INFRASTRUCTURE:
                made = await rollout(reasoner, interpreter, request.prompt, limits=limits, sampling=drawn)
        return graded(request, made)

    return list(await asyncio.gather(*map(one, requests)))


def graded(request: Request, made: Rollout) -> RlRollout:
    """Grades a rollout: 1 for a finished correct one, 0 for any other, None where our machinery failed."""
    verdict = grade(request.problem, answer_text(made.spans), stop_reason=made.stop_reason)
    earned: float | None
    if made.stop_reason is StopReason.INFRASTRUCTURE:
        earned = None
    elif made.stop_reason is StopReason.FINISHED:
        earned = reward(verdict)
    else:
        earned = 0.0
    return RlRollout(
        step=request.step,
        problem_id=request.problem.id,
        sample=request.sample,
        rollout=made,
        verdict=verdict,
        reward=earned,
    )


def token_record(made: RlRollout, end_of_turn: int) -> TokenRecord:
    """Returns the rollout as token ids, log-probabilities and mask.

    Args:
        made: from a Reasoner that gives token ids.
        end_of_turn: stands in for the response of a rollout that failed before its first token.

    Raises:
        InputError: the Reasoner gives text only, or no log-probabilities.
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
    )
