"""The review of one rollout while it is being written: after each output, and once more at its end."""

from __future__ import annotations

from collections.abc import Sequence

from calmstorm.intervener.protocol import Reviewed
from calmstorm.intervener.steps import StepValidator, steps_of
from calmstorm.records import Execution, Problem, Span, Trajectory, Usage


class StepReview:
    """Reviews the steps of one rollout, and remembers the flaw that stopped it. Called by the rollout loop."""

    def __init__(self, validator: StepValidator, problem: Problem, sample: int, round: int) -> None:
        """Prepares the review of one round of a sample."""
        self._validator = validator
        self._problem = problem
        self._sample = sample
        self._round = round
        self._flaw: Reviewed | None = None
        self._usage = Usage()

    async def __call__(self, spans: Sequence[Span], executions: Sequence[Execution]) -> bool:
        """Reviews the step that has just run; true where the rollout is to stop."""
        *before, step = steps_of(spans, executions, sample=self._sample, round=self._round)
        reviewed = await self._validator.validate(self._problem, step, before)
        self._usage += reviewed.usage
        if reviewed.intervention is not None:
            self._flaw = reviewed
        return self._flaw is not None

    async def conclude(self, trajectory: Trajectory) -> Reviewed:
        """Returns the review of the round: of the step that stopped it, else of its last one; usage is that of all."""
        reviewed = self._flaw
        if reviewed is None:
            *before, step = steps_of(
                trajectory.spans,
                trajectory.executions,
                stop_reason=trajectory.stop_reason,
                sample=trajectory.sample,
                round=trajectory.round,
            )
            reviewed = await self._validator.validate(self._problem, step, before)
            self._usage += reviewed.usage
        return reviewed.model_copy(update={"usage": self._usage})
