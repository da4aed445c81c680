"""Evaluation while training (the paper's Figure 6(a)): accuracy on held-out problems every few steps.

The Reasoner is the one that rollouts are drawn from, after it got the weights of a step and before its rollouts, so
that there is no second model. From these evaluations follow the best weights, and when training ends early. How a
Reasoner is measured is the caller's to say: training knows nothing of evaluation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from calmstorm.reasoner.protocol import Reasoner
from calmstorm.records import Problem, Record
from calmstorm.settings import RlSettings
from calmstorm.training.ranks import gather, on_first, rank, world_size


class HeldOutScore(Record):
    """What a Reasoner scored on held-out problems."""

    pass_at_1: float | None
    """None where our machinery failed all of it."""
    ci95: tuple[float, float] | None
    """95 % interval, clustered by problem."""
    problems: int
    samples: int
    """Rollouts per problem."""
    seconds: float = 0.0


class RlEvaluation(Record):
    """An evaluation while training; a line of its own in `rl.jsonl`."""

    step: int
    """Rollout steps whose updates the weights have; 0 before the first."""
    evaluation: HeldOutScore


class HeldOutAnswer(NamedTuple):
    """One graded answer."""

    suite: str
    problem_id: str
    correct: bool


class HeldOut(Protocol):
    """Measures a Reasoner on problems that it is not trained on.

    Lifecycle: `answer` is awaited in every process, each with its own share of the problems; `score` is called in the
    first, with what all of them answered.
    """

    @property
    def problems(self) -> Sequence[Problem]:
        """All of them."""
        ...

    async def answer(self, reasoner: Reasoner, problems: Sequence[Problem]) -> list[HeldOutAnswer]:
        """Answers and grades; what our machinery failed is left out."""
        ...

    def score(self, answers: Sequence[HeldOutAnswer]) -> HeldOutScore:
        """Sums them up."""
        ...


@dataclass(frozen=True)
class Watch:
    """What a training is watched with."""

    held_out: HeldOut
    known: Sequence[RlEvaluation] = ()
    """Evaluations of a training that is resumed, up to the step that it goes on after; they are not made again."""
    on_evaluation: Callable[[RlEvaluation], None] = lambda evaluation: None
    """Gets each further one; in the first process."""


class PatienceEnded(Exception):
    """Too many evaluations without a new best one; raised in every process at once."""


@dataclass
class Watcher:
    """Evaluates at the steps that are to be evaluated, and knows which of them was the best."""

    settings: RlSettings
    watch: Watch
    scores: dict[int, HeldOutScore] = field(default_factory=dict)
    """By step."""

    def __post_init__(self) -> None:
        """Takes over what was evaluated before a resume."""
        self.scores |= {known.step: known.evaluation for known in self.watch.known}

    async def before_rollouts(self, step: int, reasoner: Reasoner) -> None:
        """Evaluates the weights that a step begins with, where it is their turn.

        Raises:
            PatienceEnded: Training is to end with these weights.
        """
        done = step - 1
        if done % self.settings.evaluation_steps == 0:
            await self.evaluate(done, reasoner)
            if self.is_over():
                raise PatienceEnded

    async def evaluate(self, done: int, reasoner: Reasoner) -> None:
        """Evaluates the weights after a number of steps, unless that was done; every process takes its share."""
        if done in self.scores:
            return
        began = time.monotonic()
        held_out = self.watch.held_out
        own = await held_out.answer(reasoner, held_out.problems[rank() :: world_size()])
        everyone = gather(own)

        def score() -> HeldOutScore:
            made = held_out.score(everyone).model_copy(update={"seconds": round(time.monotonic() - began, 3)})
            self.watch.on_evaluation(RlEvaluation(step=done, evaluation=made))
            return made

        self.scores[done] = on_first(score)

    @property
    def best(self) -> int | None:
        """The step with the highest accuracy, of equal ones the first; None where nothing was measured."""
        return best_step({step: score.pass_at_1 for step, score in self.scores.items()})

    def is_over(self) -> bool:
        """Whether as many evaluations as `patience` came after the best one."""
        best, patience = self.best, self.settings.patience
        return patience > 0 and best is not None and sum(step > best for step in self.scores) >= patience


def best_step(accuracies: dict[int, float | None]) -> int | None:
    """Returns the step with the highest accuracy, of equal ones the first; None where there is none."""
    measured = {step: accuracy for step, accuracy in accuracies.items() if accuracy is not None}
    return max(sorted(measured), key=measured.__getitem__, default=None)
