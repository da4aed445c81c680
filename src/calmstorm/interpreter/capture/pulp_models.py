# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""PuLP: `LpProblem.solve`, `resolve` and `sequentialSolve`, whatever the solver."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

from .matrices import check_size
from .models import Model, Outcome
from .recorder import wrap

_LESS, _GREATER = -1, 1


def wrap_pulp(pulp: Any) -> None:
    """Wraps the class's methods."""
    for name in ("solve", "resolve"):
        wrap(pulp.LpProblem, name, _solve)
    wrap(pulp.LpProblem, "sequentialSolve", _sequential_solve)


def _solve(problem: Any, solver: Any = None, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    columns = _columns(problem)
    model = _model(problem, columns, solver)
    yield model
    yield _outcome(model, problem, columns)


def _sequential_solve(problem: Any, *_arguments: Any, **named: Any) -> Generator[Any, Any, None]:
    yield None  # each objective becomes a constraint in turn; the last of these models is recorded
    columns = _columns(problem)
    last = next(reversed(_rows(problem)), None)
    model = _model(problem, columns, named.get("solver"), without=last)
    yield model
    yield _outcome(model, problem, columns)


def _rows(problem: Any) -> Any:
    return problem._constraints if hasattr(problem, "_constraints") else problem.constraints  # no deprecation warning


def _columns(problem: Any) -> list[Any]:
    return [column for column in problem.variables() if column.name != "__dummy"]


def _model(problem: Any, columns: list[Any], solver: Any, without: str | None = None) -> Model:
    pulp = sys.modules["pulp"]
    solver = solver or problem.solver or pulp.LpSolverDefault
    mip = getattr(solver, "mip", True)  # else the relaxation is solved
    keys = list(map(id, columns))
    known = set(keys)

    def terms(expression: Any) -> list[tuple[int, Any]]:
        return [(id(column), factor) for column, factor in expression.items() if id(column) in known]

    model = Model(
        "pulp",
        [(column.name, mip and column.cat == "Integer", column.lowBound, column.upBound) for column in columns],
        () if problem.objective is None else terms(problem.objective),
        maximize=problem.sense == pulp.LpMaximize,
        offset=0.0 if problem.objective is None else problem.objective.constant,
        solver=getattr(solver, "name", type(solver).__name__),
        keys=keys,
    )
    rows = _rows(problem)
    with model.without_rows_if_too_large():
        check_size(sum(map(len, rows.values())))
        for name, row in rows.items():
            if name != without:
                bound = 0.0 - row.constant
                lower, upper = (None if row.sense == _LESS else bound), (None if row.sense == _GREATER else bound)
                model.add_row(name, terms(row), lower, upper)
    return model


def _outcome(model: Model, problem: Any, columns: list[Any]) -> Outcome:
    return Outcome(
        model,
        status=str(sys.modules["pulp"].LpStatus.get(problem.status, problem.status)),
        objective=None if problem.objective is None else problem.objective.value(),
        values=[column.varValue for column in columns],
    )
