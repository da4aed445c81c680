from __future__ import annotations

import pytest

from calmstorm.intervener.rules.model_diff import Difference, compare_models
from calmstorm.records import Constraint, Domain, LinearModel, ReferenceConstraint, Sense, Variable
from tests.intervener.workshop_case import REFERENCE, captured


def rows(*given: tuple[dict[str, float], str, float]) -> tuple[Constraint, ...]:
    return tuple(
        Constraint(name=f"c{i}", coefficients=coefficients, operator=operator, bound=bound)
        for i, (coefficients, operator, bound) in enumerate(given)
    )


LABOR, DESKS = ({"a": 4.0, "b": 2.0}, "<=", 40.0), ({"a": 1.0}, "<=", 8.0)


def test_no_difference_when_only_names_and_order_differ():
    solved = captured(
        costs={"chair_units": 20.0, "desk_units": 30.0},
        constraints=rows(({"desk_units": 1.0}, "<=", 8.0), ({"chair_units": 2.0, "desk_units": 4.0}, "<=", 40.0)),
    )
    assert not compare_models(REFERENCE, solved)


@pytest.mark.parametrize(
    "labor",
    [
        ({"a": -4.0, "b": -2.0}, ">=", -40.0),
        ({"a": 2.0, "b": 1.0}, "<=", 20.0),
        ({"a": 0.4, "b": 0.2}, "<=", 4.0),
        ({"a": 4.0, "b": 2.0, "spare": 0.0}, "<=", 40.0),
    ],
)
def test_no_difference_when_a_constraint_is_turned_around_or_scaled(labor):
    assert not compare_models(REFERENCE, captured(constraints=rows(labor, DESKS)))


def test_no_difference_when_a_constraint_is_a_bound_of_its_variable():
    variables = (
        Variable(name="a", domain=Domain.INTEGER, lower=0, upper=8),
        Variable(name="b", domain=Domain.INTEGER, lower=0, upper=None),
    )
    assert not compare_models(REFERENCE, captured(variables=variables, constraints=rows(LABOR)))


def test_no_difference_when_the_negative_is_minimized():
    assert not compare_models(REFERENCE, captured(sense=Sense.MINIMIZE, costs={"a": -30.0, "b": -20.0}))


def test_the_direction_differs_when_it_is_turned_around():
    assert compare_models(REFERENCE, captured(sense=Sense.MINIMIZE)) == Difference(sense=True)
    assert compare_models(REFERENCE, captured(costs={"a": -30.0, "b": -20.0})) == Difference(sense=True)


def test_the_missing_row_is_named():
    assert compare_models(REFERENCE, captured(constraints=rows(LABOR))) == Difference(rows=(REFERENCE.rows[1],))


@pytest.mark.parametrize(
    "labor",
    [
        ({"a": 4.0, "b": 2.0}, ">=", 40.0),
        ({"a": 4.0, "b": 2.0}, "==", 40.0),
        ({"a": 4.0, "b": 2.0}, "<=", 400.0),
        ({"a": 4.0, "b": 3.0}, "<=", 40.0),
        ({"a": 4.0, "b": -2.0}, "<=", 40.0),
    ],
)
def test_a_row_differs_when_operator_bound_or_a_coefficient_does(labor):
    assert compare_models(REFERENCE, captured(constraints=rows(labor, DESKS))) == Difference(rows=(REFERENCE.rows[0],))


def test_one_row_does_not_stand_for_two():
    twice = REFERENCE.model_copy(update={"rows": (REFERENCE.rows[0], REFERENCE.rows[0])})
    assert compare_models(twice, captured(constraints=rows(LABOR))).rows == (REFERENCE.rows[0],)


def test_the_domain_differs_when_integrality_is_missing():
    variables = tuple(
        Variable(name=n, domain=domain, lower=0, upper=None)
        for n, domain in (("a", Domain.CONTINUOUS), ("b", Domain.INTEGER))
    )
    assert compare_models(REFERENCE, captured(variables=variables)) == Difference(domain=True)


def test_the_domain_differs_when_a_choice_is_taken_twice():
    choice = LinearModel(
        sense=Sense.MAXIMIZE,
        objective="value",
        variables=("tent", "rope"),
        costs=(5.0, 3.0),
        rows=(ReferenceConstraint(name="weight", coefficients=(2.0, 3.0), operator="<=", bound=7.0),),
        domains=(Domain.BINARY, Domain.BINARY),
    )

    def solved(value: float, upper: float | None):
        variables = (
            Variable(name="a", domain=Domain.INTEGER, lower=0, upper=upper, value=value),
            Variable(name="b", domain=Domain.INTEGER, lower=0, upper=upper, value=0),
        )
        constraint = rows(({"a": 2.0, "b": 3.0}, "<=", 7.0))
        return captured(costs={"a": 5.0, "b": 3.0}, variables=variables, constraints=constraint)

    assert compare_models(choice, solved(3, None)).domain
    assert not compare_models(choice, solved(1, 1)).domain


def test_the_objective_differs_when_a_coefficient_does():
    assert compare_models(REFERENCE, captured(costs={"a": 30.0, "b": 25.0})) == Difference(objective=True)
    assert compare_models(REFERENCE, captured(costs={"a": 30.0, "b": -20.0})) == Difference(objective=True)


def test_the_sign_differs_when_a_variable_may_go_below_zero():
    variables = (
        Variable(name="a", domain=Domain.INTEGER, lower=None, upper=None),
        Variable(name="b", domain=Domain.INTEGER, lower=0, upper=None),
    )
    assert compare_models(REFERENCE, captured(variables=variables)) == Difference(sign=True)


def test_an_equation_is_the_same_from_both_sides():
    reference = REFERENCE.model_copy(
        update={"rows": (ReferenceConstraint(name="order", coefficients=(1.0, -2.0), operator="==", bound=3.0),)}
    )
    for order in (
        ({"a": 1.0, "b": -2.0}, "==", 3.0),
        ({"a": -1.0, "b": 2.0}, "==", -3.0),
        ({"a": -2.0, "b": 4.0}, "==", -6.0),
    ):
        assert not compare_models(reference, captured(constraints=rows(order)))
    assert compare_models(reference, captured(constraints=rows(({"a": 1.0, "b": -2.0}, "==", -3.0)))).rows


def test_swapped_coefficients_are_seen_where_the_names_are_the_same():
    variables = tuple(Variable(name=n, domain=Domain.INTEGER, lower=0, upper=None) for n in ("Desk", "chair"))
    right = rows(({"chair": 2.0, "Desk": 4.0}, "<=", 40.0), ({"Desk": 1.0}, "<=", 8.0))
    wrong = rows(({"chair": 4.0, "Desk": 2.0}, "<=", 40.0), ({"Desk": 1.0}, "<=", 8.0))
    costs = {"Desk": 30.0, "chair": 20.0}
    assert not compare_models(REFERENCE, captured(variables=variables, costs=costs, constraints=right))
    assert compare_models(REFERENCE, captured(variables=variables, costs=costs, constraints=wrong)) == Difference(
        rows=(REFERENCE.rows[0],)
    )
    swapped = {"Desk": 20.0, "chair": 30.0}
    assert compare_models(REFERENCE, captured(variables=variables, costs=swapped, constraints=right)).objective
    bounded = (variables[0].model_copy(update={"upper": 8.0}), variables[1])
    assert not compare_models(REFERENCE, captured(variables=bounded, costs=costs, constraints=right[:1]))
    other = (variables[0], variables[1].model_copy(update={"upper": 8.0}))
    assert compare_models(REFERENCE, captured(variables=other, costs=costs, constraints=right[:1])).rows
