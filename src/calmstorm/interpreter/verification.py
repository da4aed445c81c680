"""Solves a recorded formulation again, to find out whether what a script reported about it is true."""

from __future__ import annotations

import math
from enum import StrEnum

import highspy

from calmstorm.errors import InputError
from calmstorm.interpreter.highs_model import highs_model, is_complete
from calmstorm.records import Constraint, Domain, Formulation, Record, Variable

_FEASIBILITY = 1e-6
"""Absolute violation of a bound or constraint, scaled by the size of its right-hand side, that counts as none."""
_OBJECTIVE = 1e-6
"""Relative difference of objective values that counts as none; the default gap of MILP solvers is 1e-4."""
_MILP_GAP = 1e-4
_INTEGRALITY = 1e-5


class Doubt(StrEnum):
    """What does not hold about a formulation."""

    OBJECTIVE = "objective"
    """The reported objective is not the optimum of the recorded model."""
    STATUS = "status"
    """The reported status is not what an independent solver finds."""
    INFEASIBLE_VALUES = "infeasible_values"
    """The reported values break a bound or a constraint."""
    FRACTIONAL_VALUES = "fractional_values"
    """The reported value of an integer variable is not an integer."""
    VALUES_OBJECTIVE = "values_objective"
    """The reported values do not give the reported objective."""
    INCOMPLETE = "incomplete"
    """The record is truncated, or names variables it does not list: it cannot be checked."""
    UNDECIDED = "undecided"
    """The independent solver did not finish in time."""


class Verification(Record):
    """The result of solving a formulation again."""

    doubts: tuple[Doubt, ...]
    """Empty when everything the record says holds."""
    objective: float | None
    """Optimum found by the independent solve."""
    status: str
    """`optimal`, `infeasible`, `unbounded`, or `unknown`."""

    @property
    def holds(self) -> bool:
        """Whether nothing is in doubt."""
        return not self.doubts


def verify(formulation: Formulation, seconds: float = 10.0) -> Verification:
    """Re-solves a formulation with HiGHS and compares objective, status, feasibility and integrality.

    Args:
        formulation: As recorded from a script.
        seconds: Time limit of the solve.
    """
    if not seconds > 0:
        raise InputError(f"seconds is {seconds}; a time limit must be > 0: set verify(seconds=...)")
    if not is_complete(formulation):
        return Verification(doubts=(Doubt.INCOMPLETE,), objective=None, status="unknown")
    status, optimum = _solve(formulation, seconds)
    doubts = [*_doubts_about_values(formulation), *_doubts_about_outcome(formulation, status, optimum)]
    return Verification(doubts=tuple(dict.fromkeys(doubts)), objective=optimum, status=status)


def _solve(formulation: Formulation, seconds: float) -> tuple[str, float | None]:
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("time_limit", seconds)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("mip_rel_gap", _OBJECTIVE)
    solver.passModel(highs_model(formulation))
    solver.run()
    kind = highspy.HighsModelStatus
    if solver.getModelStatus() == kind.kUnboundedOrInfeasible:
        solver.setOptionValue("presolve", "off")
        solver.run()
    ended = solver.getModelStatus()
    if ended == kind.kModelEmpty:
        return "optimal", formulation.offset  # HiGHS says 0
    names = {kind.kOptimal: "optimal", kind.kInfeasible: "infeasible", kind.kUnbounded: "unbounded"}
    status = names.get(ended, "unknown")
    return status, float(solver.getInfo().objective_function_value) if status == "optimal" else None


def _doubts_about_values(formulation: Formulation) -> list[Doubt]:
    value = {variable.name: variable.value for variable in formulation.variables if variable.value is not None}
    if not value or len(value) < len(formulation.variables):
        return []
    if formulation.objective is None or not formulation.is_optimal:
        return []  # values of a model that was not solved to its optimum claim nothing
    doubts = []
    if any(_is_outside(variable, value[variable.name]) for variable in formulation.variables) or any(
        _is_broken(row, value) for row in formulation.constraints
    ):
        doubts.append(Doubt.INFEASIBLE_VALUES)
    discrete = [value[variable.name] for variable in formulation.variables if variable.domain is not Domain.CONTINUOUS]
    if any(abs(number - round(number)) > _INTEGRALITY for number in discrete):
        doubts.append(Doubt.FRACTIONAL_VALUES)
    reached = math.fsum(factor * value[name] for name, factor in formulation.costs.items()) + formulation.offset
    if not _same(reached, formulation.objective, _OBJECTIVE):
        doubts.append(Doubt.VALUES_OBJECTIVE)
    return doubts


def _is_outside(variable: Variable, value: float) -> bool:
    excess = [] if variable.lower is None else [(variable.lower - value, variable.lower)]
    excess += [] if variable.upper is None else [(value - variable.upper, variable.upper)]
    return any(difference > _FEASIBILITY * max(1.0, abs(bound)) for difference, bound in excess)


def _is_broken(row: Constraint, value: dict[str, float]) -> bool:
    terms = [factor * value[name] for name, factor in row.coefficients.items()]
    excess = math.fsum(terms) - row.bound
    allowed = _FEASIBILITY * max(1.0, abs(row.bound), *(abs(term) for term in terms))
    return {"<=": excess > allowed, ">=": excess < -allowed, "==": abs(excess) > allowed}[row.operator]


def _same(one: float, other: float, tolerance: float) -> bool:
    return abs(one - other) <= tolerance * max(1.0, abs(one), abs(other))


def _doubts_about_outcome(formulation: Formulation, status: str, optimum: float | None) -> list[Doubt]:
    claimed = formulation.solver_status.lower()
    if status == "unknown":
        return [Doubt.UNDECIDED]
    if claimed == "optimal":
        if optimum is None:
            return [Doubt.STATUS]
        discrete = any(variable.domain is not Domain.CONTINUOUS for variable in formulation.variables)
        tolerance = _MILP_GAP if discrete else _OBJECTIVE
        reported = formulation.objective
        return [] if reported is not None and _same(reported, optimum, tolerance) else [Doubt.OBJECTIVE]
    if claimed in ("infeasible", "unbounded") and claimed != status:
        # Solvers may call an unbounded integer model infeasible; only an optimum contradicts both.
        return [Doubt.STATUS] if status == "optimal" or claimed == "unbounded" else []
    return []
