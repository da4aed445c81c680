from __future__ import annotations

import itertools
import json

import pytest

from calmstorm.evaluation import Tally, pass_at_k, summarise
from calmstorm.records import Author, Span, SpanKind, StopReason, Trajectory, Usage, Verdict, VerdictStatus
from calmstorm.rollout.fences import count_code_blocks

C, W, N, U, F = (VerdictStatus[name] for name in ("CORRECT", "WRONG", "NO_ANSWER", "UNGRADED", "INFRASTRUCTURE"))


def trajectory(problem_id: str, sample: int, status: VerdictStatus, suite: str = "easy") -> Trajectory:
    text = "Plan.\n```python\nprint(1)\n```\n"
    verdict = Verdict(
        correct=status is C, expected=1.0, got=None, tolerance=1e-3, status=status, protocol_ok=status is C
    )
    return Trajectory(
        problem_id=problem_id,
        sample=sample,
        stage="base",
        suite=suite,
        spans=(
            Span(author=Author.REASONER, kind=SpanKind.TEXT, text=text),
            Span(author=Author.INTERPRETER, kind=SpanKind.OUTPUT, text="```output\n```python\n```\n"),
        ),
        stop_reason=StopReason.INFRASTRUCTURE if status is F else StopReason.FINISHED,
        verdict=verdict,
        usage=Usage(completion_tokens=100),
    )


def test_pass_at_1_is_the_mean_over_problems_of_their_means() -> None:
    cell = summarise([trajectory("a", 0, C), trajectory("a", 1, C), trajectory("a", 2, C), trajectory("b", 0, W)])
    assert cell.pass_at_1 == 0.5
    assert (cell.problems, cell.samples) == (2, 3)
    assert (cell.code_blocks, cell.response_tokens, cell.protocol_ok) == (1.0, 100.0, 0.75)
    assert cell.ci95 is not None
    assert cell.ci95[0] < 0.5 < cell.ci95[1]


def test_what_our_machinery_failed_and_what_has_no_label_is_in_no_rate() -> None:
    cell = summarise([trajectory("a", 0, C), trajectory("a", 1, F), trajectory("b", 0, F), trajectory("c", 0, U)])
    assert cell.pass_at_1 == 1.0
    assert (cell.problems, cell.infrastructure, cell.ungraded) == (1, 2, 1)


def test_no_answer_counts_as_wrong_and_is_shown() -> None:
    cell = summarise([trajectory("a", 0, C), trajectory("b", 0, N)])
    assert (cell.pass_at_1, cell.no_answer) == (0.5, 0.5)


def test_nothing_graded_gives_no_rate_instead_of_zero() -> None:
    for rows in ([], [trajectory("a", 0, F)], [trajectory("a", 0, U)]):
        cell = summarise(rows)
        assert (cell.pass_at_1, cell.ci95, cell.problems, cell.estimate) == (None, None, 0, None)
        json.loads(cell.model_dump_json())


def test_the_same_id_in_two_suites_is_two_problems() -> None:
    assert summarise([trajectory("a", 0, C), trajectory("a", 0, W, "complex")]).problems == 2


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 1, 1), (4, 2, 2), (5, 0, 3), (5, 5, 3), (6, 2, 4)])
def test_pass_at_k_equals_counting_all_choices(samples: int, correct: int, k: int) -> None:
    outcomes = [1] * correct + [0] * (samples - correct)
    choices = list(itertools.combinations(outcomes, k))
    estimate = pass_at_k([(samples, correct)], k)
    assert estimate is not None
    assert estimate.mean == pytest.approx(sum(map(any, choices)) / len(choices))


def test_pass_at_k_leaves_out_problems_with_fewer_samples() -> None:
    estimate = pass_at_k([(2, 2), (8, 0)], 4)
    assert estimate is not None
    assert estimate.mean == 0.0
    assert pass_at_k([(2, 2)], 4) is None


def test_pass_at_1_by_both_ways_is_the_same() -> None:
    tally = Tally()
    for sample, status in enumerate([C, W, C, N]):
        tally.add_trajectory(trajectory("a", sample, status))
    estimate = pass_at_k(tally.outcomes().values(), 1)
    assert estimate is not None
    assert estimate.mean == tally.summary().pass_at_1 == 0.5


def test_only_python_blocks_are_counted() -> None:
    assert count_code_blocks("```python\nx\n```\n```output\n```\n  ```py\ny\n```\ninline ```python no\n```") == 2
