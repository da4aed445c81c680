from __future__ import annotations

import pytest

from calmstorm.errors import InputError
from calmstorm.interpreter import Doubt, verify
from calmstorm.records import Constraint, Domain, Formulation, Sense, Variable


def formulation(**changed: object) -> Formulation:
    """max 3x + 2y + 1 with x + y <= 4, 0 <= x <= 2.5, y >= 0, y integer: 3 * 2 + 2 * 2 + 1 = 11."""
    fields: dict[str, object] = {
        "source": "pulp",
        "sense": Sense.MAXIMIZE,
        "costs": {"x": 3.0, "y": 2.0},
        "offset": 1.0,
        "variables": (
            Variable(name="x", domain=Domain.CONTINUOUS, lower=0, upper=2.5, value=2),
            Variable(name="y", domain=Domain.INTEGER, lower=0, upper=None, value=2),
        ),
        "constraints": (Constraint(name="c", coefficients={"x": 1.0, "y": 1.0}, operator="<=", bound=4.0),),
        "solver_status": "Optimal",
        "objective": 11,
    }
    return Formulation.model_validate({**fields, **changed})


def with_values(x: float, y: float, **changed: object) -> Formulation:
    base = formulation()
    first, second = base.variables
    variables = (first.model_copy(update={"value": x}), second.model_copy(update={"value": y}))
    return formulation(variables=variables, **changed)


def test_true_record_holds() -> None:
    verification = verify(formulation())
    assert verification.holds
    assert verification.objective == pytest.approx(11)


def test_forged_objective_is_doubted() -> None:
    assert verify(formulation(objective=12.0)).doubts == (Doubt.VALUES_OBJECTIVE, Doubt.OBJECTIVE)


def test_values_that_break_a_constraint_are_doubted() -> None:
    assert Doubt.INFEASIBLE_VALUES in verify(with_values(2.5, 2, objective=12.5)).doubts


def test_values_beyond_a_bound_are_doubted() -> None:
    assert Doubt.INFEASIBLE_VALUES in verify(with_values(3, 1, objective=12)).doubts


def test_fractional_value_of_an_integer_is_doubted() -> None:
    assert Doubt.FRACTIONAL_VALUES in verify(with_values(2.5, 1.5, objective=11.5)).doubts


def test_feasible_but_not_optimal_record_is_doubted() -> None:
    assert verify(with_values(2, 1, objective=9)).doubts == (Doubt.OBJECTIVE,)


def test_claimed_infeasibility_of_a_feasible_model_is_doubted() -> None:
    assert verify(formulation(solver_status="Infeasible", objective=None)).doubts == (Doubt.STATUS,)


def test_true_infeasibility_holds() -> None:
    row = Constraint(name="c", coefficients={"x": 1.0}, operator=">=", bound=3.0)
    verification = verify(formulation(constraints=(row,), solver_status="Infeasible", objective=None))
    assert (verification.holds, verification.status) == (True, "infeasible")


def test_true_unboundedness_holds() -> None:
    verification = verify(formulation(constraints=(), solver_status="Unbounded", objective=None))
    assert (verification.holds, verification.status) == (True, "unbounded")


def test_truncated_record_cannot_be_checked() -> None:
    assert verify(formulation(truncated=True)).doubts == (Doubt.INCOMPLETE,)


def test_record_with_an_unlisted_variable_cannot_be_checked() -> None:
    assert verify(formulation(costs={"z": 1.0})).doubts == (Doubt.INCOMPLETE,)


def test_time_limit_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError, match="seconds is 0"):
        verify(formulation(), seconds=0)
