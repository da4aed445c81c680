"""Rules first where they are sure, a stronger reviewer for the rest."""

from __future__ import annotations

from typing import Protocol

from calmstorm.intervener.protocol import Intervener, Reviewed
from calmstorm.records import Problem, Trajectory


class SureReviewer(Protocol):
    """Reviews what it is sure of, at no cost."""

    @property
    def name(self) -> str:
        """Name for records."""
        ...

    def sure_review(self, problem: Problem, trajectory: Trajectory) -> Reviewed | None:
        """Returns a review, or None where it is not sure whether and where there is a flaw."""
        ...


class CombinedIntervener:
    """An Intervener that asks another one only where the rules abstain."""

    def __init__(self, rules: SureReviewer, other: Intervener) -> None:
        """Takes both; the other one is closed with this."""
        self._rules, self._other = rules, other

    @property
    def name(self) -> str:
        """Both names ("rules+llm:gemini-2.5-pro@intervener-2"); a correction bears the name of the one who made it."""
        return f"{self._rules.name}+{self._other.name}"

    async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
        """Looks for the first flaw; see `calmstorm.intervener.protocol.Intervener`.

        Raises:
            InputError: The other Intervener cannot be asked like this.
            InfrastructureError: It could not be asked.
        """
        sure = self._rules.sure_review(problem, trajectory)
        return sure if sure is not None else await self._other.review(problem, trajectory)

    async def close(self) -> None:
        """Closes the other Intervener."""
        await self._other.close()
