"""From a problem and a response to a verdict, and from a verdict to the reward (paper eq. 3)."""

from __future__ import annotations

from collections.abc import Iterable

from calmstorm.grading.answers import extract_answer
from calmstorm.grading.compare import TOLERANCE, compare
from calmstorm.records import Author, LabelStatus, Problem, Span, SpanKind, StopReason, Verdict, VerdictStatus


def is_gradable(problem: Problem) -> bool:
    """Says whether the problem has a label that an answer can be compared with."""
    if problem.status is LabelStatus.OPTIMAL:
        return problem.answer is not None
    return problem.status not in (LabelStatus.MISSING, LabelStatus.SENTINEL)


def grade(
    problem: Problem, response: str, *, stop_reason: StopReason | None = None, tolerance: float = TOLERANCE
) -> Verdict:
    """Grades a response.

    Args:
        problem: Supplies the label, and its own tolerance where the label needs a coarser one.
        response: The whole response as text, code and output blocks included.
        stop_reason: How the rollout ended; a failure of our machinery is never scored as wrong.
        tolerance: Relative tolerance, unless the problem has its own.
    """
    extracted = extract_answer(response)
    failed = stop_reason is StopReason.INFRASTRUCTURE
    ungraded = Verdict(
        correct=False,
        expected=None,
        got=extracted.value,
        tolerance=tolerance,
        status=VerdictStatus.INFRASTRUCTURE if failed else VerdictStatus.UNGRADED,
        protocol_ok=extracted.protocol_ok,
    )
    return regrade(problem, ungraded, tolerance=tolerance)


def regrade(problem: Problem, verdict: Verdict, *, tolerance: float = TOLERANCE) -> Verdict:
    """Grades an answer again, by another label, such as that of another version of the benchmark.

    Args:
        problem: Supplies the label, and its own tolerance where the label needs a coarser one.
        verdict: Supplies the answer; a failure of our machinery stays one.
        tolerance: Relative tolerance, unless the problem has its own.
    """
    tolerance = problem.tolerance if problem.tolerance is not None else tolerance
    correct = False
    if verdict.status is VerdictStatus.INFRASTRUCTURE:
        status = VerdictStatus.INFRASTRUCTURE
    elif not is_gradable(problem):
        status = VerdictStatus.UNGRADED
    elif verdict.got is None:
        status = VerdictStatus.NO_ANSWER
    else:
        correct = compare(problem.label, verdict.got, tolerance)
        status = VerdictStatus.CORRECT if correct else VerdictStatus.WRONG
    return verdict.model_copy(
        update={"correct": correct, "expected": problem.label, "tolerance": tolerance, "status": status}
    )


def reward(verdict: Verdict) -> float:
    """Returns 1.0 for a correct verdict and 0.0 for any other (paper eq. 3).

    Verdicts with status `infrastructure` or `ungraded` say nothing about the Reasoner; callers exclude them.
    """
    return 1.0 if verdict.correct else 0.0


def answer_text(spans: Iterable[Span]) -> str:
    """Returns the response without what programs printed: the part that can hold an answer."""
    return "".join(
        "\n" if span.author is Author.INTERPRETER or span.kind is SpanKind.OUTPUT else span.text for span in spans
    )
