"""What every Intervener offers: a rule engine, a stronger model, a person or a script of canned reviews."""

from __future__ import annotations

from typing import Protocol

from calmstorm.records import Intervention, Problem, Trajectory

MOST_TRIGGERS = 2
"""Triggers that are named for one response at most (paper appendix J)."""


class Intervener(Protocol):
    """Finds the first flaw of a trajectory and answers it with a hint (paper section 3.2).

    Concurrency: `review` may be awaited by many tasks of one event loop at once. Lifecycle: `close` is called once,
    after which `review` must not be.
    """

    @property
    def name(self) -> str:
        """Name for records ("rules", "llm:gemini-2.5-pro", "human")."""
        ...

    async def review(self, problem: Problem, trajectory: Trajectory) -> Intervention | None:
        """Returns the correction of the first flaw, or None when there is none.

        Raises:
            InfrastructureError: The Intervener could not be asked.
        """
        ...

    async def close(self) -> None:
        """Frees what the Intervener holds."""
        ...
