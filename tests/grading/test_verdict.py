from __future__ import annotations

import pytest

from calmstorm.grading import TOLERANCE, answer_text, extract_answer, grade, grade_rollout, regrade, reward
from calmstorm.records import Author, LabelStatus, Problem, Span, SpanKind, StopReason, Verdict, VerdictStatus


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
    assert not verdict.correct


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


def test_the_tolerance_given_is_used_when_the_problem_has_none() -> None:
    assert grade(problem(), r"\boxed{16}", tolerance=0.1).correct
    assert grade(problem(), r"\boxed{16}", tolerance=0.1).tolerance == 0.1
    assert grade(problem(), r"\boxed{15}").tolerance == TOLERANCE


def test_an_answer_is_graded_again_by_another_label() -> None:
    first = grade(problem(15.0), r"\boxed{16 dollars}")
    again = regrade(problem(16.0), first)
    assert again == Verdict(
        correct=True, expected=16.0, got=16.0, tolerance=TOLERANCE, status=VerdictStatus.CORRECT, protocol_ok=False
    )
    assert regrade(problem(15.0), again, tolerance=0.1).correct
    assert regrade(problem(None, LabelStatus.MISSING), first).status is VerdictStatus.UNGRADED
    assert regrade(problem(15.0), again) == first


def test_our_own_failure_stays_one_when_it_is_graded_again() -> None:
    failed = grade(problem(), r"\boxed{15}", stop_reason=StopReason.INFRASTRUCTURE)
    again = regrade(problem(), failed)
    assert (again.status, again.correct, again.got) == (VerdictStatus.INFRASTRUCTURE, False, 15.0)


def test_an_answer_printed_by_a_program_is_not_the_response_s_answer() -> None:
    spans = [
        Span(author=Author.REASONER, kind=SpanKind.TEXT, text="So \\boxed{1}"),
        Span(author=Author.INTERPRETER, kind=SpanKind.OUTPUT, text="\\boxed{99}"),
        Span(author=Author.INTERVENER, kind=SpanKind.HINT, text="Wait. "),
        Span(author=Author.REASONER, kind=SpanKind.TEXT, text="Done."),
        Span(author=Author.REASONER, kind=SpanKind.OUTPUT, text="\\boxed{98}"),  # as one reads it from a transcript
        Span(author=Author.INTERPRETER, kind=SpanKind.TEXT, text="\\boxed{97}"),
    ]
    gone = "\n```output\n```\n"
    assert answer_text(spans) == f"So \\boxed{{1}}{gone}Wait. Done.{gone}{gone}"
    assert extract_answer(answer_text(spans)).value == 1.0


BLOCK, OUTPUT = "```python\nprint(15)\n```\n", "```output\n15\n```\n"


def told(*parts: tuple[Author, str]) -> list[Span]:
    return [Span(author=author, kind=SpanKind.TEXT, text=text) for author, text in parts]


@pytest.mark.parametrize("stop", [StopReason.FINISHED, StopReason.LENGTH, StopReason.EXECUTIONS])
@pytest.mark.parametrize(
    "words",
    [
        f"So \\boxed{{15}}.\n{BLOCK}",  # before a block that is repeated
        f"So \\boxed{{15}}.{BLOCK}",
        "So \\boxed{15}.\n```python\nprint(1",
        f"{BLOCK}{OUTPUT}So \\boxed{{15}}.",  # behind one, with an output of its own
        "```\nSo \\boxed{15}.\n```\n",  # between a fence that was left behind the output and the next
        "```\nSo \\boxed{15}.\n```\n```\nprint(15)\n```\n",
        f"```\nSo \\boxed{{15}}.\n{BLOCK}",
        "```latex\n\\boxed{15}\n```",
        "\n```text\nnotes\n\\boxed{15}",
    ],
)
def test_a_rollout_is_graded_by_its_answer_whatever_ended_it(words: str, stop: StopReason) -> None:
    spans = told((Author.REASONER, BLOCK), (Author.INTERPRETER, OUTPUT), (Author.REASONER, words))
    verdict = grade_rollout(problem(), spans, stop)
    assert (verdict.status, reward(verdict)) == (VerdictStatus.CORRECT, 1.0)
    assert not grade_rollout(problem(), spans, StopReason.INFRASTRUCTURE).correct


def test_an_answer_that_a_hint_gives_is_not_the_reasoner_s() -> None:
    spans = told((Author.REASONER, "So \\boxed{16}. "), (Author.INTERVENER, "No, \\boxed{15}. "))
    assert grade_rollout(problem(), spans, StopReason.FINISHED).got == 16.0
    spans = told((Author.INTERVENER, "By code.\n```python\n"), (Author.REASONER, "print(15)  # \\boxed{15}\n```\nOk"))
    assert grade_rollout(problem(), spans, StopReason.FINISHED).got is None


def test_the_tolerance_of_a_rollout_s_grade_is_the_given_one() -> None:
    spans = told((Author.REASONER, "\\boxed{16}"))
    assert grade_rollout(problem(), spans, StopReason.FINISHED, tolerance=0.1).correct
