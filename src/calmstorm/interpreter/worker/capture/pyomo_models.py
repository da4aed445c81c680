# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""Pyomo: `solve` of every kind of solver: `SolverFactory(...)`, `pyomo.contrib.appsi` and `pyomo.contrib.solver`.

The model is told as Pyomo hands it on: active components, parameters by value, fixed variables as constants, variables
that nothing uses left out.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import sys
from collections.abc import Generator, Iterator
from typing import Any

from .notation import COEFFICIENTS_WORTH_READING, NOT_SOLVED, Model, Outcome, names, sides, terms, variables
from .recording import wrap

MODULES = (
    "pyomo.opt.base.solvers",
    "pyomo.solvers.plugins.solvers.direct_solver",
    "pyomo.solvers.plugins.solvers.persistent_solver",
    "pyomo.solvers.plugins.solvers.GAMS",
    "pyomo.contrib.appsi.base",
    "pyomo.contrib.appsi.solvers.cbc",
    "pyomo.contrib.appsi.solvers.cplex",
    "pyomo.contrib.appsi.solvers.gurobi",
    "pyomo.contrib.appsi.solvers.highs",
    "pyomo.contrib.appsi.solvers.ipopt",
    "pyomo.contrib.gdpopt.GDPopt",
    "pyomo.contrib.gdpopt.algorithm_base_class",
    "pyomo.contrib.gdpopt.enumerate",
    "pyomo.contrib.gdpopt.gloa",
    "pyomo.contrib.gdpopt.ldsda",
    "pyomo.contrib.gdpopt.loa",
    "pyomo.contrib.gdpopt.ric",
    "pyomo.contrib.mindtpy.MindtPy",
    "pyomo.contrib.mindtpy.algorithm_base_class",
    "pyomo.contrib.solver.common.base",
    "pyomo.contrib.solver.common.persistent",
    "pyomo.contrib.solver.solvers.gurobi.gurobi_direct_base",
    "pyomo.contrib.solver.solvers.gurobi.gurobi_persistent",
    "pyomo.contrib.solver.solvers.ipopt",
    "pyomo.contrib.solver.solvers.scip.scip_direct",
    "pyomo.contrib.solver.solvers.scip.scip_persistent",
)
"""Where classes define a `solve` of their own."""

_UNDERSTOOD = {
    "Block",
    "BuildAction",
    "BuildCheck",
    "Constraint",
    "Expression",
    "ExternalFunction",
    "Objective",
    "Param",
}
_UNDERSTOOD |= {"RangeSet", "Set", "SetOf", "Suffix", "Var"}
"""Kinds of components that a linear model consists of."""
_OPTIMAL = ("optimal", "globallyOptimal")
_INFEASIBLE = ("infeasible", "provenInfeasible")


def wrap_pyomo(module: Any) -> None:
    """Wraps the `solve` and the `available` of each class that the module defines one in."""
    for each in list(vars(module).values()):
        if isinstance(each, type) and each.__module__ == module.__name__:
            for name, account in (("solve", _solve), ("available", _try_out)):
                if inspect.isfunction(vars(each).get(name)):
                    wrap(each, name, account)


def _try_out(*_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    yield None  # to see what a licence allows, some solve a model of their own, which is not the script's


def _solve(solver: Any, model: Any = None, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    with _quiet():
        program = _Program(getattr(solver, "_pyomo_model", None) if model is None else model)
        told = program.told()
    told.solver = str(getattr(solver, "name", "") or _own_name(solver))
    try:
        answer = yield told
    except Exception:
        yield Outcome(told, status=_status_of_native(solver))  # newer interfaces raise where nothing can be loaded
        return
    with _quiet():
        outcome = program.outcome(told, answer)
    yield outcome


def _own_name(solver: Any) -> str:
    """Returns the name of a solver's class, past those that give it the older interface."""
    return next(each.__name__ for each in type(solver).__mro__ if not each.__name__.startswith("Legacy"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps to itself what Pyomo logs about values that are asked for."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class _Program:
    """A Pyomo model, read."""

    def __init__(self, model: Any) -> None:
        self._core = sys.modules["pyomo.core"]
        self._model = model
        self._columns: dict[int, Any] = {}
        self._whole = True
        self._size = 0
        self._objective = next(iter(self._active(self._core.Objective)), None)

    def told(self) -> Model:
        """Returns the model as a record."""
        for block in self._model.block_data_objects(active=True):
            for component in block.component_objects(active=True, descend_into=False):
                self._whole = self._whole and component.ctype.__name__ in _UNDERSTOOD
        offset, costs = (0.0, []) if self._objective is None else self._linear(self._objective.expr)
        rows = []
        for each in self._active(self._core.Constraint):
            constant, row = self._linear(each.body)
            rows.append((each.name, row, each.lb, each.ub, constant))
            if self._size > COEFFICIENTS_WORTH_READING:
                self._whole, rows = False, []
                break
        columns = list(self._columns.values())
        named = names([each.name for each in columns])
        place = {key: index for index, key in enumerate(self._columns)}
        limited = []
        for name, row, lower, upper, constant in rows:
            left = terms(named, [place[id(each)] for each, _ in row], [factor for _, factor in row])
            low, high = (None if bound is None else bound - constant for bound in (lower, upper))
            limited += sides(name, left, low, high)
        self._whole = self._whole and all(each.is_continuous() or each.is_integer() for each in columns)
        return Model(
            source="pyomo",
            sense="maximize" if self._maximizes() else "minimize",
            costs=terms(named, [place[id(each)] for each, _ in costs], [factor for _, factor in costs]),
            offset=offset,
            variables=variables(
                named,
                [not each.is_continuous() for each in columns],
                [each.lb for each in columns],
                [each.ub for each in columns],
            ),
            constraints=limited,
            whole=self._whole,
        )

    def outcome(self, told: Model, answer: Any) -> Outcome:
        """Returns what came of it."""
        status = _status(answer)
        loaded = not any(each.stale for each in self._columns.values())
        reported = (
            self._core.value(self._objective, exception=False) if loaded and self._objective is not None else None
        )
        if not loaded:
            reported = self._reported(answer)
        return Outcome(
            told,
            status=status,
            objective=reported if status == "Optimal" else None,
            values=[each.value for each in self._columns.values()] if loaded else None,
        )

    def _reported(self, answer: Any) -> Any:
        """Returns the objective value of a solve whose solution was not loaded into the model."""
        for name in ("incumbent_objective", "best_feasible_objective"):
            if getattr(answer, name, None) is not None:
                return getattr(answer, name)
        bound = "lower_bound" if self._maximizes() else "upper_bound"
        return getattr(getattr(answer, "problem", None), bound, None)

    def _maximizes(self) -> bool:
        return self._objective is not None and self._objective.sense == self._core.maximize

    def _active(self, kind: Any) -> Iterator[Any]:
        return iter(self._model.component_data_objects(kind, active=True, descend_into=True))

    def _linear(self, expression: Any) -> tuple[float, list[tuple[Any, float]]]:
        """Returns the constant and the linear terms of an expression; what else it has is not told."""
        read = sys.modules["pyomo.repn.standard_repn"].generate_standard_repn(
            expression, compute_values=True, quadratic=False
        )
        self._whole = self._whole and read.nonlinear_expr is None
        self._size += len(read.linear_vars)
        self._columns.update((id(each), each) for each in read.linear_vars)
        return float(read.constant), list(zip(read.linear_vars, map(float, read.linear_coefs), strict=True))


def _status(answer: Any) -> str:
    condition = _plain(getattr(answer, "termination_condition", None) or answer.solver.termination_condition)
    if condition == "convergenceCriteriaSatisfied":
        condition = _plain(answer.solution_status)
    if condition in _OPTIMAL:
        return "Optimal"
    return "Infeasible" if condition in _INFEASIBLE else re.sub(r"(?<=[a-z])(?=[A-Z])", " ", condition).capitalize()


def _plain(enumerated: Any) -> str:
    return str(getattr(enumerated, "name", enumerated))


def _status_of_native(solver: Any) -> str:
    """Returns the status that the solver below knows, where it is one that is asked in this process."""
    native: Any = getattr(solver, "_solver_model", None)
    if hasattr(native, "modelStatusToString"):
        status = str(native.modelStatusToString(native.getModelStatus()))
        return NOT_SOLVED if status == "Not Set" else status
    return {3: "Infeasible", 5: "Unbounded"}.get(getattr(native, "Status", 0), NOT_SOLVED)
