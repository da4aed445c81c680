"""Solves a recorded formulation anew, to find out whether what a script reported about it is true."""

from __future__ import annotations

import math
from enum import StrEnum

import highspy
import numpy as np

from calmstorm.errors import InputError
from calmstorm.records import Domain, Formulation, Record, Sense

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
    """What solving a formulation anew came to."""

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
    if formulation.truncated or not _closed(formulation):
        return Verification(doubts=(Doubt.INCOMPLETE,), objective=None, status="unknown")
    status, optimum = _solve(formulation, seconds)
    doubts = [*_doubts_about_values(formulation), *_doubts_about_outcome(formulation, status, optimum)]
    return Verification(doubts=tuple(dict.fromkeys(doubts)), objective=optimum, status=status)


def _closed(formulation: Formulation) -> bool:
    """Whether every name that is used is a listed variable, once."""
    listed = [variable.name for variable in formulation.variables]
    used = set(formulation.costs).union(*(row.coefficients for row in formulation.constraints))
    operators = {row.operator for row in formulation.constraints}
    return len(set(listed)) == len(listed) and used <= set(listed) and operators <= {"<=", ">=", "=="}


def _solve(formulation: Formulation, seconds: float) -> tuple[str, float | None]:
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("time_limit", seconds)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("mip_rel_gap", _OBJECTIVE)
    solver.passModel(_as_highs(formulation))
    solver.run()
    kind = highspy.HighsModelStatus
    found = solver.getModelStatus()
    if found == kind.kUnboundedOrInfeasible:
        solver.setOptionValue("presolve", "off")
        solver.run()
        found = solver.getModelStatus()
    names = {kind.kOptimal: "optimal", kind.kInfeasible: "infeasible", kind.kUnbounded: "unbounded"}
    if found == kind.kModelEmpty:
        return "optimal", formulation.offset  # HiGHS says 0
    status = names.get(found, "unknown")
    return status, float(solver.getInfo().objective_function_value) if status == "optimal" else None


def _as_highs(formulation: Formulation) -> highspy.HighsLp:
    column = {variable.name: index for index, variable in enumerate(formulation.variables)}
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(column), len(formulation.constraints)
    model.sense_ = highspy.ObjSense.kMaximize if formulation.sense is Sense.MAXIMIZE else highspy.ObjSense.kMinimize
    model.offset_ = formulation.offset
    model.col_cost_ = np.array([formulation.costs.get(name, 0.0) for name in column], dtype=float)
    model.col_lower_ = np.array([_or(v.lower, -math.inf) for v in formulation.variables], dtype=float)
    model.col_upper_ = np.array([_or(v.upper, math.inf) for v in formulation.variables], dtype=float)
    discrete, real = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
    model.integrality_ = [real if v.domain is Domain.CONTINUOUS else discrete for v in formulation.variables]
    rows = formulation.constraints
    model.row_lower_ = np.array([-math.inf if row.operator == "<=" else row.bound for row in rows], dtype=float)
    model.row_upper_ = np.array([math.inf if row.operator == ">=" else row.bound for row in rows], dtype=float)
    entries = [[(column[name], factor) for name, factor in row.coefficients.items()] for row in rows]
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.cumsum([0, *(len(row) for row in entries)], dtype=np.int32)
    model.a_matrix_.index_ = np.array([index for row in entries for index, _ in row], dtype=np.int32)
    model.a_matrix_.value_ = np.array([factor for row in entries for _, factor in row], dtype=float)
    return model


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _doubts_about_values(formulation: Formulation) -> list[Doubt]:
    if not formulation.variables or any(variable.value is None for variable in formulation.variables):
        return []
    if formulation.objective is None or not formulation.is_optimal:
        return []  # values of a model that was not solved to its optimum claim nothing
    doubts = []
    value = {variable.name: _or(variable.value, 0.0) for variable in formulation.variables}
    for variable in formulation.variables:
        x = value[variable.name]
        low, high = _or(variable.lower, -math.inf), _or(variable.upper, math.inf)
        if not low - _slack(low) <= x <= high + _slack(high):
            doubts.append(Doubt.INFEASIBLE_VALUES)
        if variable.domain is not Domain.CONTINUOUS and abs(x - round(x)) > _INTEGRALITY:
            doubts.append(Doubt.FRACTIONAL_VALUES)
    for row in formulation.constraints:
        terms = [factor * value[name] for name, factor in row.coefficients.items()]
        excess = math.fsum(terms) - row.bound
        allowed = _FEASIBILITY * max(1.0, abs(row.bound), *(abs(term) for term in terms))
        broken = {"<=": excess > allowed, ">=": excess < -allowed, "==": abs(excess) > allowed}
        if broken[row.operator]:
            doubts.append(Doubt.INFEASIBLE_VALUES)
    reached = math.fsum(factor * value[name] for name, factor in formulation.costs.items()) + formulation.offset
    if not _same(reached, formulation.objective, _OBJECTIVE):
        doubts.append(Doubt.VALUES_OBJECTIVE)
    return doubts


def _slack(bound: float) -> float:
    return _FEASIBILITY * max(1.0, abs(bound)) if math.isfinite(bound) else 0.0


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
