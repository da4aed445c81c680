"""What every Intervener offers: a rule engine, a stronger model, a person or a script of canned reviews."""

from __future__ import annotations

from typing import Protocol

from calmstorm.records import Intervention, Problem, Record, ReviewOutcome, Trajectory, Usage

MOST_TRIGGERS = 2
"""Triggers that are named for one response at most (paper appendix J)."""


class Reviewed(Record):
    """What an Intervener said about a trajectory."""

    outcome: ReviewOutcome
    intervention: Intervention | None = None
    """Where it is flawed."""
    reason: str = ""
    """Why the review failed."""
    usage: Usage = Usage()
    """Of all requests that the review took."""

    @classmethod
    def of(cls, intervention: Intervention | None, usage: Usage | None = None) -> Reviewed:
        """Returns a review that succeeded: flawless where there is no intervention."""
        outcome = ReviewOutcome.FLAWLESS if intervention is None else ReviewOutcome.FLAWED
        return cls(outcome=outcome, intervention=intervention, usage=usage or Usage())


class Intervener(Protocol):
    """Finds the first flaw of a trajectory and answers it with a hint (paper section 3.2).

    Concurrency: `review` may be awaited by many tasks of one event loop at once. Lifecycle: `close` is called once,
    after which `review` must not be.
    """

    @property
    def name(self) -> str:
        """Name for records ("rules", "llm:gemini-2.5-pro", "human")."""
        ...

    async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
        """Looks for the first flaw, and returns its correction where there is one.

        Raises:
            InfrastructureError: The Intervener could not be asked.
        """
        ...

    async def close(self) -> None:
        """Frees what the Intervener holds."""
        ...
