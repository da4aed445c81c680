"""From a problem and a response to a verdict, and from a verdict to the reward (paper eq. 3)."""

from __future__ import annotations

from collections.abc import Iterable

from calmstorm.grading.answers import extract_answer
from calmstorm.grading.compare import TOLERANCE, compare
from calmstorm.records import Author, LabelStatus, Problem, Span, SpanKind, StopReason, Verdict, VerdictStatus

GRADABLE = frozenset({LabelStatus.OPTIMAL, LabelStatus.NO_OPTIMUM, LabelStatus.INFEASIBLE, LabelStatus.UNBOUNDED})
"""Labels that an answer can be held against."""


def is_gradable(problem: Problem) -> bool:
    """Says whether the problem has a label that an answer can be held against."""
    return problem.status in GRADABLE and (problem.answer is not None or problem.status is not LabelStatus.OPTIMAL)


def grade(
    problem: Problem, response: str, *, stop_reason: StopReason | None = None, tolerance: float = TOLERANCE
) -> Verdict:
    """Grades a response.

    Args:
        problem: supplies the label, and its own tolerance where the label needs a coarser one.
        response: the whole response as text, code and output blocks included.
        stop_reason: how the rollout ended; one that our machinery failed is never scored as wrong.
        tolerance: relative tolerance, unless the problem has its own.
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
    """Holds an answer that was graded before against another label, such as that of another version.

    Args:
        problem: supplies the label, and its own tolerance where the label needs a coarser one.
        verdict: supplies the answer; one that our machinery failed stays so.
        tolerance: relative tolerance, unless the problem has its own.
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

    Verdicts with status `infrastructure` or `ungraded` say nothing about the Reasoner; callers leave them out.
    """
    return 1.0 if verdict.correct else 0.0


def answer_text(spans: Iterable[Span]) -> str:
    """Returns the response without what programs printed, which is where an answer may stand."""
    return "".join(
        "\n" if span.author is Author.INTERPRETER or span.kind is SpanKind.OUTPUT else span.text for span in spans
    )
