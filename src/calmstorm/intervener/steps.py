"""Step by step: a response is reviewed as it comes into being, after each code block that has run.

A step is a stretch of the response that ends with a code block and its output, or with the end of the response. The
paper reviews finished responses; reviewing steps stops a rollout at its first flaw, before more is written behind it.
`StepValidator` is the seam: any Intervener is one through `IntervenerSteps`, and rules of another domain can stand in
its place without knowing anything of trajectories.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from calmstorm.grading import answer_text, grade
from calmstorm.intervener.protocol import Intervener, Reviewed
from calmstorm.records import Execution, Problem, Record, Span, SpanKind, Stage, StopReason, Trajectory, Trigger

_OF_THE_END = (Trigger.NO_SANITY_CHECK, Trigger.PROTOCOL_VIOLATION)
"""Flaws of how a response ends: before its end there is none of them."""


class Step(Record):
    """A stretch of a response that ends with a code block and its output, or with the response."""

    spans: tuple[Span, ...]
    executions: tuple[Execution, ...] = ()
    """What came of its code."""
    stop_reason: StopReason = StopReason.REVIEWED
    """How the response ended with this step; `REVIEWED` where it may go on."""
    sample: int = 0
    """Attempt at the problem that it belongs to."""
    round: int = 0
    """Interventions made so far on this attempt."""

    @property
    def is_last(self) -> bool:
        """Whether the response has ended, so that its end can be judged."""
        return self.stop_reason is not StopReason.REVIEWED

    @property
    def text(self) -> str:
        """What it says, whoever wrote it."""
        return "".join(span.text for span in self.spans)


class StepValidator(Protocol):
    """Looks for a flaw in a step.

    Concurrency: `validate` may be awaited by many tasks of one event loop at once, never twice at once for one attempt.
    """

    async def validate(self, problem: Problem, step: Step, before: Sequence[Step]) -> Reviewed:
        """Looks for the first flaw of a response so far; flaws of earlier steps may show only now.

        Args:
            problem: What is being solved.
            step: The step that has just been made.
            before: The steps before it, in order; they were let pass.

        Returns:
            The flaw with its correction, its position counted from the beginning of the first step, or that there is
            none. A review that failed lets the step pass; at the end of the response it counts.

        Raises:
            InfrastructureError: The reviewer could not be asked.
        """
        ...


class IntervenerSteps:
    """An Intervener as a step validator: it is shown the response so far, and on the last step the whole."""

    def __init__(self, intervener: Intervener) -> None:
        self._intervener = intervener

    async def validate(self, problem: Problem, step: Step, before: Sequence[Step]) -> Reviewed:
        """Asks the Intervener about the response so far; see `StepValidator`."""
        reviewed = await self._intervener.review(problem, trajectory_of(problem, (*before, step)))
        flaw = reviewed.intervention
        if flaw is not None and flaw.trigger in _OF_THE_END and not step.is_last:
            return Reviewed.of(None, reviewed.usage)
        return reviewed


def steps_of(
    spans: Sequence[Span],
    executions: Sequence[Execution],
    *,
    stop_reason: StopReason = StopReason.REVIEWED,
    sample: int = 0,
    round: int = 0,
) -> list[Step]:
    """Splits a response into its steps.

    Args:
        spans: The response so far.
        executions: What came of its code, in order.
        stop_reason: How it ended; `REVIEWED` where it may go on.
        sample: Attempt at the problem.
        round: Interventions made so far.
    """
    ends = [number + 1 for number, span in enumerate(spans) if span.kind is SpanKind.OUTPUT]
    if not ends or ends[-1] < len(spans):
        ends.append(len(spans))
    steps = []
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        is_last = number == len(ends) - 1
        steps.append(
            Step(
                spans=tuple(spans[start:end]),
                executions=tuple(executions[number:] if is_last else executions[number : number + 1]),
                stop_reason=stop_reason if is_last else StopReason.REVIEWED,
                sample=sample,
                round=round,
            )
        )
    return steps


def trajectory_of(problem: Problem, steps: Sequence[Step]) -> Trajectory:
    """Returns the response that some steps make up, graded as far as it goes; `steps` is not empty."""
    last = steps[-1]
    spans = tuple(span for step in steps for span in step.spans)
    verdict = grade(problem, answer_text(spans), stop_reason=last.stop_reason)
    return Trajectory(
        problem_id=problem.id,
        sample=last.sample,
        round=last.round,
        stage=Stage.CURATION,
        suite=problem.suite,
        spans=spans,
        stop_reason=last.stop_reason,
        executions=tuple(execution for step in steps for execution in step.executions),
        answer=verdict.got,
        verdict=verdict,
    )
