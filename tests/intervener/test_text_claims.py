from __future__ import annotations

import pytest

from calmstorm.intervener.rules.text_claims import states_row, states_terms
from calmstorm.records import ReferenceConstraint
from tests.intervener.workshop_case import REFERENCE

NAMES = ("desk", "chair", "small desk")
LABOR = ReferenceConstraint(name="labor", coefficients=(4.0, 2.0, 0.0), operator="<=", bound=40.0)
ORDER = ReferenceConstraint(name="order", coefficients=(1.0, -2.0, 0.0), operator=">=", bound=0.0)
SHARE = ReferenceConstraint(name="share", coefficients=(12.0, 20.0, 5.0), operator=">=", bound=1000.0)


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        (": 4 * desk + 2 * chair <= 40", LABOR),
        (": 4desk + 2chair \u2264 40", LABOR),
        (": $4 desk + 2 chair \\le 40$", LABOR),
        (": 2 * chair + 4 * Desk at most 40", LABOR),
        (" must stay at most 40 hours, 4 for a desk and 2 for a chair", LABOR),
        (": 4x + 2y <= 40", LABOR),
        (": desk >= 2 * chair", ORDER),
        (": desk - 2 * chair >= 0", ORDER),
        (": 12 * desk + 20 * chair + 5 * small_desk >= 20*50", SHARE),
        (": 12 * desk + 20 * chair + 5 * small desk >= 1,000", SHARE),
    ],
)
def test_a_row_is_stated_in_many_notations(statement, row):
    assert states_row(statement, row, NAMES)


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        (": 2 * desk + 4 * chair <= 40", LABOR),
        (": 4 * desk + 2 * chair >= 40", LABOR),
        (": 4 * desk + 2 * chair <= 60", LABOR),
        (": 4 * desk + 2 * small desk <= 40", LABOR),
        (": 4 * desk <= 40", LABOR),
        (": 4 * desk + 2 * chair", LABOR),
        (": 4x + 3y <= 40", LABOR),
        (": desk >= chair", ORDER),
        (": 12 * desk + 20 * chair + 5 * small_desk >= 20*60", SHARE),
    ],
)
def test_a_row_is_not_stated_when_something_differs(statement, row):
    assert not states_row(statement, row, NAMES)


def test_of_a_group_of_rows_only_the_direction_is_looked_at():
    supply = ReferenceConstraint(name="Lima", coefficients=(1.0, 1.0, 0.0), operator="<=", bound=40.0, group="supply")
    assert states_row(": <= 40, 60", supply, NAMES)
    assert not states_row(": >= 40, 60", supply, NAMES)


def test_costs_are_held_against_their_names():
    assert states_terms("30 * desk + 20 * chair", REFERENCE.costs, REFERENCE.variables)
    assert not states_terms("20 * desk + 30 * chair", REFERENCE.costs, REFERENCE.variables)
    assert states_terms("20 for a chair and 30 for a desk", REFERENCE.costs, REFERENCE.variables)
