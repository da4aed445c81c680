from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmstorm.problems.labels import parse_label
from calmstorm.records import LabelStatus


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (18, 18.0),
        (0, 0.0),
        ("0", 0.0),
        (-700, -700.0),
        ("1160.0", 1160.0),
        (" 7\t", 7.0),
        ("1e12", 1e12),
        ("12,000", 12000.0),
        ("[18.0]", 18.0),
        ([18.0], 18.0),
        (["30000.0"], 30000.0),
        ({"variables": {"x": 1.0}, "objective": 684000.0}, 684000.0),
        ({"Number of sled dog trips": "0.0", "Maximized number of fish transported": "3000.0"}, 3000.0),
        ({"The optimal number of stations": "2.0", "Whether city 6 has one": "0.0"}, 2.0),
        ({"miter saws": "15", "circular saws": "11"}, 11.0),
        (999, 999.0),
        (-999, -999.0),
        (99999, 99999.0),
    ],
)
def test_a_number_of_any_published_shape_is_read(value: object, answer: float) -> None:
    assert parse_label(value) == (answer, LabelStatus.OPTIMAL)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (None, "missing"),
        ("", "missing"),
        ("null", "missing"),
        ([], "missing"),
        ({}, "missing"),
        ([None], "missing"),
        ("[None]", "missing"),
        (float("nan"), "missing"),
        ("No Best Solution", "no_optimum"),
        ("no_optimum", "no_optimum"),
        ("infeasible or unbounded", "no_optimum"),
        ("Infeasible", "infeasible"),
        ("no feasible solution", "infeasible"),
        ("unbounded", "unbounded"),
        (-99999, "sentinel"),
        ("-9999", "sentinel"),
        ("-99999.0", "sentinel"),
        (4.08e35, "sentinel"),
        (float("inf"), "sentinel"),
        ("sentinel", "sentinel"),
    ],
)
def test_everything_that_is_no_number_is_a_status_and_never_a_target(value: object, status: str) -> None:
    assert parse_label(value) == (None, LabelStatus(status))


@pytest.mark.parametrize(
    "value", [True, [1, 2], "about ten", "12 or 13", "[1, 2]", "[oops", object(), "not infeasible"]
)
def test_what_is_no_label_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="the answer is"):
        parse_label(value)


@given(st.floats(-1e15, 1e15))
def test_a_number_and_its_text_are_the_same_label(number: float) -> None:
    assert parse_label(repr(number)) == parse_label(number) == parse_label([number])
