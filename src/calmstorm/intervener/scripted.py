"""An Intervener with a script: deterministic reviews, so that pipelines run without a model, a network or a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from calmstorm.errors import InfrastructureError
from calmstorm.intervener.protocol import Reviewed
from calmstorm.records import Intervention, Problem, Trajectory

Script = Callable[[Problem, Trajectory], Intervention | None]
"""Returns the review of a trajectory; None means flawless. It may raise."""


class ScriptedIntervener:
    """Gives canned reviews, in the order it is asked, or asks a function.

    A canned intervention is adapted to the trajectory it meets: it keeps trigger, target and hint, and takes over
    problem, sample, round and, where the target occurs in the response, its position.
    """

    def __init__(self, script: Iterable[Intervention | None] | Script, *, name: str = "scripted") -> None:
        """Takes the script.

        Args:
            script: Reviews, one per call, or a function of problem and trajectory.
            name: Name for records.
        """
        self._script = script if callable(script) else None
        self._reviews = iter(()) if callable(script) else iter(script)
        self._name = name
        self.asked: list[tuple[str, int, int]] = []
        """(problem id, sample, round) of every review, in order."""

    @property
    def name(self) -> str:
        """The given name."""
        return self._name

    async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
        """Returns the next review.

        Raises:
            InfrastructureError: The canned reviews are used up.
        """
        self.asked.append((problem.id, trajectory.sample, trajectory.round))
        if self._script is not None:
            return Reviewed.of(self._script(problem, trajectory))
        try:
            canned = next(self._reviews)
        except StopIteration:
            raise InfrastructureError(
                f"the script of {self._name} is used up: give it as many reviews as it is asked for"
            ) from None
        return Reviewed.of(None if canned is None else self._adapted(canned, trajectory))

    def _adapted(self, canned: Intervention, trajectory: Trajectory) -> Intervention:
        position = trajectory.response.find(canned.target) if canned.target else -1
        return canned.model_copy(
            update={
                "problem_id": trajectory.problem_id,
                "sample": trajectory.sample,
                "round": trajectory.round,
                "position": position if position >= 0 else canned.position,
                "intervener": self._name,
            }
        )

    async def close(self) -> None:
        """Nothing to free."""
