"""A generator that is lost in the middle of a step: what failed is made again, and nothing is trained on a part."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from calmstorm.errors import InfrastructureError, WorkError
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling
from calmstorm.settings import RlSettings, RolloutSettings
from calmstorm.training.rollouts import RlRollout
from calmstorm.training.steps import REPEATS, RolloutSteps
from tests.training.tiny_model import EchoInterpreter, coin_problems, ids

SETTINGS = RlSettings(steps=1, prompts_per_step=2, mini_batch=2, samples=2, response_tokens=60)


class Flaky:
    """A generator and its Reasoner: after `healthy` answers it is lost, `outages` times, until the next sync."""

    name, codec = "flaky", None

    def __init__(self, healthy: int, outages: int, known: bool = True) -> None:
        self.healthy, self.outages, self.known = healthy, outages, known
        self.left = healthy
        self.lost = False
        self.synced: list[int] = []
        self.drawn: Counter[int | None] = Counter()
        self.failed: Counter[int | None] = Counter()

    @property
    def reasoner(self) -> Flaky:
        return self

    async def sync(self, weights: Any, step: int) -> None:
        self.synced.append(step)
        self.left, self.lost = self.healthy, False

    def render(self, question: str) -> Prefix:
        return Prefix(text=question, token_ids=ids(question))

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        self.left -= 1
        if self.left < 0 and self.outages > 0:
            self.failed[sampling.seed] += 1
            if self.known:
                self.lost = True
            raise InfrastructureError("no server could be reached")
        self.drawn[sampling.seed] += 1
        text = "\\boxed{3}"
        logprobs = (-0.1,) * len(ids(text))
        return Completion(text=text, token_ids=ids(text), logprobs=logprobs, stop=CompletionStop.END_OF_TURN)

    async def close(self) -> None: ...


class Recovering(Flaky):
    """Comes back whole with the sync after an outage."""

    async def sync(self, weights: Any, step: int) -> None:
        self.outages -= self.lost
        await super().sync(weights, step)


def make(generator: Flaky) -> list[RlRollout]:
    made: list[RlRollout] = []
    with asyncio.Runner() as runner:
        schedule = [(problem, generator.render(problem.question)) for problem in coin_problems(2)]
        steps = RolloutSteps(
            generator, 2, EchoInterpreter(), schedule, SETTINGS, RolloutSettings(), 1, runner, print, made.append
        )
        steps.roll_out([0, 0, 1, 1], weights=None)  # type: ignore[arg-type]
    return made


def test_rollouts_that_failed_are_made_again_with_their_seeds_and_the_others_are_kept() -> None:
    generator = Recovering(healthy=2, outages=1)
    made = make(generator)
    assert [rollout.reward for rollout in made] == [1.0] * 4
    assert generator.synced == [1, 1]
    assert {*generator.drawn.values()} == {1}
    assert len(generator.drawn) == 4
    assert len(generator.failed) == 2
    assert {*generator.failed} <= {*generator.drawn}


def test_a_step_is_not_trained_on_a_part_of_its_rollouts() -> None:
    generator = Flaky(healthy=0, outages=10**6)
    with pytest.raises(WorkError, match=f"step 1 failed {1 + REPEATS} times .* run the same command to resume"):
        make(generator)
    assert generator.synced == [1] * (1 + REPEATS)


def test_rollouts_that_fail_for_another_reason_have_no_reward_and_repeat_nothing() -> None:
    generator = Flaky(healthy=2, outages=10**6, known=False)
    made = make(generator)
    assert sorted(rollout.reward is None for rollout in made) == [False, False, True, True]
    assert generator.synced == [1]
