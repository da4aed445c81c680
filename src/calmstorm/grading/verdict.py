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
    return _verdict(
        problem,
        extracted.value,
        is_failed=stop_reason is StopReason.INFRASTRUCTURE,
        protocol_ok=extracted.protocol_ok,
        tolerance=tolerance,
    )


def regrade(problem: Problem, verdict: Verdict, *, tolerance: float = TOLERANCE) -> Verdict:
    """Grades an answer again, by another label, such as that of another version of the benchmark.

    Args:
        problem: Supplies the label, and its own tolerance where the label needs a coarser one.
        verdict: Supplies the answer; a failure of our machinery stays one.
        tolerance: Relative tolerance, unless the problem has its own.
    """
    return _verdict(
        problem,
        verdict.got,
        is_failed=verdict.status is VerdictStatus.INFRASTRUCTURE,
        protocol_ok=verdict.protocol_ok,
        tolerance=tolerance,
    )


def grade_rollout(
    problem: Problem, spans: Iterable[Span], stop_reason: StopReason, *, tolerance: float = TOLERANCE
) -> Verdict:
    """Grades a rollout: the one rule for curation, evaluation and reinforcement alike (paper eq. 3).

    What counts is the last answer in what the Reasoner itself wrote, whatever ended the rollout: a correct box counts
    also where the response was cut off by a limit, as eq. 3 speaks of the answer of a trajectory and of nothing else.
    What programs printed is no answer, nor is what an Intervener wrote. A rollout that our machinery failed is never
    scored, whatever it had written.

    Args:
        problem: Supplies the label, and its own tolerance where the label needs a coarser one.
        spans: The response.
        stop_reason: How the rollout ended.
        tolerance: Relative tolerance, unless the problem has its own.
    """
    return grade(problem, answer_text(spans), stop_reason=stop_reason, tolerance=tolerance)


def reward(verdict: Verdict) -> float:
    """Returns 1.0 for a correct verdict and 0.0 for any other (paper eq. 3).

    Verdicts with status `infrastructure` or `ungraded` say nothing about the Reasoner; callers exclude them.
    """
    return 1.0 if verdict.correct else 0.0


def answer_text(spans: Iterable[Span]) -> str:
    """Returns the response without what programs printed and the boxes of hints: the part that can hold an answer.

    Outputs leave an empty block. The fences of hints stay: the Reasoner closes the block that a hint opens.
    """
    return "".join(map(_answering, spans))


def _answering(span: Span) -> str:
    if span.author is Author.INTERPRETER or span.kind is SpanKind.OUTPUT:
        return "\n```output\n```\n"
    return span.text.replace("\\boxed", "boxed") if span.author is Author.INTERVENER else span.text


def _verdict(
    problem: Problem, answer: float | str | None, *, is_failed: bool, protocol_ok: bool, tolerance: float
) -> Verdict:
    tolerance = problem.tolerance if problem.tolerance is not None else tolerance
    if is_failed:
        status = VerdictStatus.INFRASTRUCTURE
    elif not is_gradable(problem):
        status = VerdictStatus.UNGRADED
    elif answer is None:
        status = VerdictStatus.NO_ANSWER
    else:
        status = VerdictStatus.CORRECT if compare(problem.label, answer, tolerance) else VerdictStatus.WRONG
    return Verdict(
        correct=status is VerdictStatus.CORRECT,
        expected=problem.label,
        got=answer,
        tolerance=tolerance,
        status=status,
        protocol_ok=protocol_ok,
    )
