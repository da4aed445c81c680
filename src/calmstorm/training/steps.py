"""The steps of a reinforcement: rollouts of every process, before the trainer uses them, and the report after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from calmstorm.errors import WorkError
from calmstorm.reasoner.protocol import Prefix, Reasoner
from calmstorm.records import Problem, Record, StopReason
from calmstorm.rollout import CodeRunner
from calmstorm.rollout.spans import response_ids
from calmstorm.settings import RlSettings, RolloutSettings
from calmstorm.training.clock import Activity, RolloutClock
from calmstorm.training.generator import Generator, TrainedWeights
from calmstorm.training.ranks import gather, in_any, is_first
from calmstorm.training.rollouts import RlRollout, RolloutTask, TokenRecord, roll_out, token_record

if TYPE_CHECKING:
    from calmstorm.training.trl.session import Logs


REPEATS = 3
"""How often the rollouts of a step are repeated that fail because their generator was lost."""


class RlStep(Record):
    """One rollout step; a line of `rl.jsonl`."""

    step: int
    """From 1."""
    reward: float
    """Mean over the step's graded rollouts."""
    code_blocks: float
    """Executions per rollout."""
    response_tokens: float
    """Tokens per response, execution output included."""
    silent_groups: float
    """Share of problems whose rollouts all earned the same, and so teach nothing."""
    ungraded: int
    """Rollouts that our machinery failed."""
    logprob_difference: float | None = None
    """Of generator and trainer, nats per token, mean over what is learned of the first mini-batch before its update;
    None where nothing is."""
    logprob_difference_max: float | None = None
    """Of any of those tokens."""
    contrastive_loss: float | None = None
    """Of CARFT, without its coefficient."""
    similarity_correct: float | None = None
    """Of CARFT: cosine of correct rollouts' embeddings with that of the annotated trajectory, mean."""
    similarity_wrong: float | None = None
    """The same of wrong rollouts."""
    grad_norm: float
    """Before clipping; mean over the step's updates."""
    seconds: float
    rollout_seconds: float
    """Part of `seconds` that went into rollouts; the rest is loss and optimizer."""
    execute_seconds: float = 0.0
    """Part of `rollout_seconds` in which code was run and nothing was generated; of the first process."""
    score_seconds: float = 0.0
    """Part of `rollout_seconds` in which answers were graded, and neither was done; of the first process."""


async def _nothing(step: int, reasoner: Reasoner) -> None:
    """What is done before the rollouts of a step unless more is asked for."""


def _failed(made: Sequence[RlRollout]) -> list[int]:
    """Returns the places of rollouts that our machinery failed."""
    return [place for place, each in enumerate(made) if each.rollout.stop_reason is StopReason.INFRASTRUCTURE]


@dataclass
class RolloutSteps:
    """Makes the rollouts of each step for the trainer, and reports the step after its last update.

    Every process has one, and makes the rollouts of its own problems; the first reports those of all.
    """

    generator: Generator
    end_of_turn: int
    """Id of a token that ends a turn."""
    interpreter: CodeRunner
    schedule: Sequence[tuple[Problem, Prefix]]
    """Problem and prompt of each row of the training."""
    settings: RlSettings
    rollouts: RolloutSettings
    seed: int
    runner: asyncio.Runner
    on_step: Callable[[RlStep], None]
    on_rollout: Callable[[RlRollout], None]
    before_rollouts: Callable[[int, Reasoner], Awaitable[None]] = _nothing
    """Gets the number of each step, and the Reasoner with the weights that the step's rollouts are drawn from."""
    made: list[RlRollout] = field(default_factory=list)
    """Rollouts of the current step, of all processes, in the order of the schedule; in the first process only."""
    rollout_seconds: float = 0.0
    watched_seconds: float = 0.0
    """What `before_rollouts` took; no part of the step."""
    clock: RolloutClock = field(default_factory=RolloutClock)
    """Of the current step's rollouts in this process."""
    updates: list[tuple[Logs, float]] = field(default_factory=list)
    """Logs and seconds of each update of the current step."""

    def roll_out(self, rows: list[int], weights: TrainedWeights) -> list[TokenRecord]:
        """Returns a rollout for each row of the schedule; each row comes `samples` times in a row."""
        began = time.monotonic()
        tasks = [
            RolloutTask(
                step=row // self.settings.prompts_per_step + 1,
                problem=self.schedule[row][0],
                sample=place % self.settings.samples,
                prompt=self.schedule[row][1],
            )
            for place, row in enumerate(rows)
        ]
        own = self.runner.run(self._make(tasks, weights))
        everyone = gather(list(zip(rows, own, strict=True)))
        self.made = [made for _, made in sorted(everyone, key=lambda pair: (pair[0], pair[1].sample))]
        for rollout in self.made:
            self.on_rollout(rollout)
        self.rollout_seconds = time.monotonic() - began - self.watched_seconds
        return [token_record(rollout, self.end_of_turn) for rollout in own]

    async def _make(self, tasks: Sequence[RolloutTask], weights: TrainedWeights) -> list[RlRollout]:
        step = tasks[0].step
        await self.generator.sync(weights, step)
        began = time.monotonic()
        await self.before_rollouts(step, self.generator.reasoner)
        self.watched_seconds = time.monotonic() - began
        self.clock = RolloutClock()
        made = await self._roll_out(tasks)
        failed = _failed(made)
        repeats = 0
        while in_any(bool(failed) and self.generator.lost):
            if repeats == REPEATS:
                raise WorkError(
                    f"rollouts of step {step} failed {1 + repeats} times because their generator was lost: see to it, "
                    "then run the same command to resume"
                )
            repeats += 1
            await self.generator.sync(weights, step)
            repeated = await self._roll_out([tasks[place] for place in failed])
            for place, rollout in zip(failed, repeated, strict=True):
                made[place] = rollout
            failed = _failed(made)
        return made

    async def _roll_out(self, tasks: Sequence[RolloutTask]) -> list[RlRollout]:
        reasoner = self.generator.reasoner
        return await roll_out(tasks, reasoner, self.interpreter, self.settings, self.rollouts, self.seed, self.clock)

    def after_update(self, update: int, logs: Logs, seconds: float) -> None:
        """Counts an optimizer step; after the last one of a rollout step, reports that step."""
        self.updates.append((dict(logs), seconds))
        per_step = self.settings.updates_per_step
        if update % per_step:
            return
        if is_first():
            self.on_step(self._report(update // per_step))
        self.updates.clear()

    def _report(self, step: int) -> RlStep:
        made, samples = self.made, self.settings.samples
        rewards = [rollout.reward for rollout in made]
        graded = [reward for reward in rewards if reward is not None]
        groups = [{*rewards[at : at + samples]} - {None} for at in range(0, len(made), samples)]
        first, _ = self.updates[0]
        return RlStep(
            step=step,
            reward=fmean(graded) if graded else 0.0,
            code_blocks=fmean(len(rollout.rollout.executions) for rollout in made),
            response_tokens=fmean(len(response_ids(rollout.rollout.spans)) for rollout in made),
            silent_groups=fmean(len(group) < 2 for group in groups),
            ungraded=len(made) - len(graded),
            logprob_difference=first.get("logprob_difference"),
            logprob_difference_max=first.get("logprob_difference_max"),
            contrastive_loss=first.get("contrastive_loss"),
            similarity_correct=first.get("similarity_correct"),
            similarity_wrong=first.get("similarity_wrong"),
            grad_norm=fmean(logs["grad_norm"] for logs, _ in self.updates),
            seconds=sum(seconds for _, seconds in self.updates) - self.watched_seconds,
            rollout_seconds=self.rollout_seconds,
            execute_seconds=self.clock.seconds[Activity.EXECUTE],
            score_seconds=self.clock.seconds[Activity.SCORE],
        )
