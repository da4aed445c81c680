from __future__ import annotations

import pytest

from calmstorm.grading import answer_text, extract_answer, grade, reward
from calmstorm.records import Author, LabelStatus, Problem, Span, SpanKind, StopReason, VerdictStatus


def problem(
    answer: float | None = 15.0, status: LabelStatus = LabelStatus.OPTIMAL, tolerance: float | None = None
) -> Problem:
    return Problem(id="p", question="How many?", answer=answer, status=status, tolerance=tolerance)


@pytest.mark.parametrize(
    ("response", "status", "points"),
    [
        (r"\boxed{15}", VerdictStatus.CORRECT, 1.0),
        (r"\boxed{15 dollars}", VerdictStatus.CORRECT, 1.0),
        (r"\boxed{16}", VerdictStatus.WRONG, 0.0),
        (r"\boxed{infeasible}", VerdictStatus.WRONG, 0.0),
        ("I ran out of", VerdictStatus.NO_ANSWER, 0.0),
    ],
)
def test_a_response_gets_its_verdict(response: str, status: VerdictStatus, points: float) -> None:
    verdict = grade(problem(), response)
    assert verdict.status is status
    assert reward(verdict) == points


def test_our_own_failure_is_never_scored_as_wrong() -> None:
    verdict = grade(problem(), r"\boxed{16}", stop_reason=StopReason.INFRASTRUCTURE)
    assert verdict.status is VerdictStatus.INFRASTRUCTURE


@pytest.mark.parametrize("status", [LabelStatus.MISSING, LabelStatus.SENTINEL, LabelStatus.OPTIMAL])
def test_a_response_is_ungraded_when_the_label_is_unusable(status: LabelStatus) -> None:
    verdict = grade(problem(None, status), r"\boxed{-99999}")
    assert verdict.status is VerdictStatus.UNGRADED
    assert not verdict.correct


def test_label_zero_is_a_label() -> None:
    assert grade(problem(0.0), r"\boxed{0}").correct
    assert not grade(problem(0.0), r"\boxed{1}").correct


def test_a_status_label_is_met_by_the_status_word() -> None:
    assert grade(problem(None, LabelStatus.INFEASIBLE), r"\boxed{infeasible}").correct
    assert not grade(problem(None, LabelStatus.INFEASIBLE), r"\boxed{0}").correct


def test_the_problem_s_own_tolerance_wins_and_stands_in_the_verdict() -> None:
    verdict = grade(problem(15.0, tolerance=0.1), r"\boxed{16}", tolerance=1e-6)
    assert verdict.correct
    assert verdict.tolerance == 0.1


def test_the_protocol_verdict_stands_apart_from_correctness() -> None:
    verdict = grade(problem(), r"\boxed{15 dollars}")
    assert (verdict.correct, verdict.protocol_ok) == (True, False)


def test_an_answer_printed_by_a_program_is_not_the_response_s_answer() -> None:
    spans = [
        Span(author=Author.REASONER, kind=SpanKind.TEXT, text="So \\boxed{1}\n"),
        Span(author=Author.INTERPRETER, kind=SpanKind.OUTPUT, text="\\boxed{99}"),
        Span(author=Author.REASONER, kind=SpanKind.TEXT, text="Done."),
    ]
    assert extract_answer(answer_text(spans)).value == 1.0
