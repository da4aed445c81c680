from __future__ import annotations

import math
from decimal import Decimal, localcontext

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from calmstorm.errors import SettingsError
from calmstorm.grading import compare

numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**12), 10**12).map(float),
    st.sampled_from([0.0, -0.0, 1e12, -1e12, 1e-9, -1e-9, 0.0022]),
)


def agrees_with_equation_3(label: float, answer: float) -> bool:
    """The oracle: eq. 3 in decimal arithmetic wide enough for every float, by multiplication instead of division."""
    with localcontext() as context:
        context.prec = 1000
        difference = Decimal(repr(answer)) - Decimal(repr(label))
        return 1000 * abs(difference) <= (abs(Decimal(repr(label))) if label else 1)


@given(numbers, numbers)
def test_two_numbers_agree_exactly_when_equation_3_says_so(label: float, answer: float) -> None:
    assert compare(label, answer) == agrees_with_equation_3(label, answer)


@given(numbers, st.floats(-0.003, 0.003))
def test_answers_near_a_label_agree_exactly_when_equation_3_says_so(label: float, share: float) -> None:
    answer = label * (1 + share) if label else share
    assume(math.isfinite(answer))
    assert compare(label, answer) == agrees_with_equation_3(label, answer)


@pytest.mark.parametrize(
    ("label", "answer"),
    [(1000.0, 1001.0), (0.3, 0.3003), (0.1, 0.0999), (-700.0, -700.7), (1e12, 1.001e12), (100.0, 99.9)],
)
def test_the_boundary_itself_agrees_whatever_binary_rounding_says(label: float, answer: float) -> None:
    assert compare(label, answer)


@pytest.mark.parametrize(
    ("label", "answer"), [(1000.0, 1001.0001), (-700.0, 700.0), (-700.0, -701.0), (1.0, 0.0), (1e-9, 2e-9)]
)
def test_answers_beyond_the_boundary_do_not_agree(label: float, answer: float) -> None:
    assert not compare(label, answer)


def test_label_zero_takes_an_absolute_tolerance() -> None:
    assert compare(0.0, 0.0)
    assert compare(0.0, -0.0005)
    assert not compare(0.0, 0.0022)


def test_nothing_agrees_with_a_missing_label_or_answer() -> None:
    for other in (None, 0.0, "", "infeasible", "missing"):
        assert not compare(None, other)
        assert not compare(other, None)


def test_values_that_are_not_finite_agree_with_nothing() -> None:
    for number in (float("nan"), float("inf"), float("-inf")):
        assert not compare(number, number)
        assert not compare(1.0, number)


@pytest.mark.parametrize(
    ("label", "answer", "agrees"),
    [
        ("infeasible", "infeasible", True),
        ("infeasible", "unbounded", False),
        ("infeasible", "no_optimum", False),
        ("unbounded", "unbounded", True),
        ("no_optimum", "infeasible", True),
        ("no_optimum", "no_optimum", True),
        ("sentinel", "sentinel", False),
        ("missing", "missing", False),
        ("infeasible", 0.0, False),
        (0.0, "infeasible", False),
        ("nonsense", "nonsense", False),
    ],
)
def test_status_words_compare_as_statuses(label: float | str, answer: float | str, agrees: bool) -> None:
    assert compare(label, answer) is agrees


def test_a_tolerance_of_0_wants_the_number_itself() -> None:
    assert compare(0.1, 0.1, 0.0)
    assert not compare(0.1, 0.10000000000000002, 0.0)


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_tolerance_is_refused(tolerance: float) -> None:
    with pytest.raises(SettingsError, match="must be a finite number >= 0"):
        compare(1.0, 1.0, tolerance)
