# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""Pyomo: `solve` of every kind of solver: `SolverFactory(...)`, `pyomo.contrib.appsi` and `pyomo.contrib.solver`.

The model is recorded as Pyomo passes it on: active components, parameters by value, fixed variables as constants,
variables that nothing uses left out.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import sys
from collections.abc import Generator, Iterator
from typing import Any

from .matrices import TooLargeError, check_size
from .models import NOT_SOLVED, Model, Outcome
from .recorder import wrap

PACKAGES = (
    "pyomo.opt.base.solvers",
    "pyomo.solvers.plugins.solvers",
    "pyomo.contrib.appsi",
    "pyomo.contrib.gdpopt",
    "pyomo.contrib.mindtpy",
    "pyomo.contrib.solver",
)
"""Below these, classes define a `solve` of their own."""

_LINEAR = {
    "Block", "BuildAction", "BuildCheck", "Constraint", "Expression", "ExternalFunction", "Objective", "Param",
    "RangeSet", "Set", "SetOf", "Suffix", "Var",
}  # fmt: skip
"""Kinds of components that a linear model consists of."""
_OPTIMAL = ("optimal", "globallyOptimal")
_INFEASIBLE = ("infeasible", "provenInfeasible")


def wrap_pyomo(module: Any) -> None:
    """Wraps the `solve` and the `available` of each class that the module defines one in."""
    for defined in list(vars(module).values()):
        if isinstance(defined, type) and defined.__module__ == module.__name__:
            for name, observer in (("solve", _solve), ("available", _available)):
                if inspect.isfunction(vars(defined).get(name)):
                    wrap(defined, name, observer)


def _available(*_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    yield None  # to see what a licence allows, some solve a model of their own, which is not the script's


def _solve(solver: Any, model: Any = None, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    with _quiet():
        program = _Program(getattr(solver, "_pyomo_model", None) if model is None else model)
        record = program.record()
    record.solver = str(getattr(solver, "name", "") or _own_name(solver))
    try:
        answer = yield record
    except Exception:
        yield Outcome(record, status=_status_of_native(solver))  # newer interfaces raise where nothing can be loaded
        return
    with _quiet():
        outcome = program.outcome(record, answer)
    yield outcome


def _own_name(solver: Any) -> str:
    """Returns the name of a solver's class, without those that give it the older interface."""
    return next(base.__name__ for base in type(solver).__mro__ if not base.__name__.startswith("Legacy"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses what Pyomo logs about values that are asked for."""
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
        self._maximize = self._objective is not None and self._objective.sense == self._core.maximize

    def record(self) -> Model:
        """Returns the model as a record."""
        for block in self._model.block_data_objects(active=True):
            for component in block.component_objects(active=True, descend_into=False):
                self._whole = self._whole and component.ctype.__name__ in _LINEAR
        offset, costs = (0.0, []) if self._objective is None else self._linear(self._objective.expr)
        rows = []
        try:
            for constraint in self._active(self._core.Constraint):
                constant, terms = self._linear(constraint.body)
                limits = (None if bound is None else bound - constant for bound in (constraint.lb, constraint.ub))
                rows.append((constraint.name, terms, *limits))
                check_size(self._size)
        except TooLargeError:
            self._whole, rows = False, []
        columns = list(self._columns.values())
        model = Model(
            "pyomo",
            [(column.name, not column.is_continuous(), column.lb, column.ub) for column in columns],
            costs,
            maximize=self._maximize,
            offset=offset,
            keys=self._columns,
            whole=self._whole and all(column.is_continuous() or column.is_integer() for column in columns),
        )
        for row in rows:
            model.add_row(*row)
        return model

    def outcome(self, record: Model, answer: Any) -> Outcome:
        """Returns what came of it."""
        status = _status(answer)
        loaded = not any(column.stale for column in self._columns.values())
        if not loaded:
            reported = self._reported(answer)
        else:
            reported = None if self._objective is None else self._core.value(self._objective, exception=False)
        return Outcome(
            record,
            status=status,
            objective=reported if status == "Optimal" else None,
            values=[column.value for column in self._columns.values()] if loaded else None,
        )

    def _reported(self, answer: Any) -> Any:
        """Returns the objective value of a solve whose solution was not loaded into the model."""
        for name in ("incumbent_objective", "best_feasible_objective"):
            if getattr(answer, name, None) is not None:
                return getattr(answer, name)
        return getattr(getattr(answer, "problem", None), "lower_bound" if self._maximize else "upper_bound", None)

    def _active(self, kind: Any) -> Iterator[Any]:
        return iter(self._model.component_data_objects(kind, active=True, descend_into=True))

    def _linear(self, expression: Any) -> tuple[float, list[tuple[int, float]]]:
        """Returns the constant and the linear terms of an expression, and notes whether it has others."""
        read = sys.modules["pyomo.repn.standard_repn"].generate_standard_repn(
            expression, compute_values=True, quadratic=False
        )
        self._whole = self._whole and read.nonlinear_expr is None
        self._size += len(read.linear_vars)
        self._columns.update((id(column), column) for column in read.linear_vars)
        return float(read.constant), list(zip(map(id, read.linear_vars), read.linear_coefs, strict=True))


def _status(answer: Any) -> str:
    condition = _name_of(getattr(answer, "termination_condition", None) or answer.solver.termination_condition)
    if condition == "convergenceCriteriaSatisfied":
        condition = _name_of(answer.solution_status)
    if condition in _OPTIMAL:
        return "Optimal"
    return "Infeasible" if condition in _INFEASIBLE else re.sub(r"(?<=[a-z])(?=[A-Z])", " ", condition).capitalize()


def _name_of(member: Any) -> str:
    return str(getattr(member, "name", member))


def _status_of_native(solver: Any) -> str:
    """Returns the status that the solver below knows, where it is one that is asked in this process."""
    native: Any = getattr(solver, "_solver_model", None)
    if hasattr(native, "modelStatusToString"):
        status = str(native.modelStatusToString(native.getModelStatus()))
        return NOT_SOLVED if status == "Not Set" else status
    return {3: "Infeasible", 5: "Unbounded"}.get(getattr(native, "Status", 0), NOT_SOLVED)
