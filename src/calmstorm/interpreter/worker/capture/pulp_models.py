# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""PuLP: `LpProblem.solve`, `resolve` and `sequentialSolve`, whatever solver does the work."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

from .notation import COEFFICIENTS_WORTH_READING, Model, Outcome, constraint, names, variables
from .recording import wrap

_OPERATORS = {-1: "<=", 0: "==", 1: ">="}


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
    yield None  # each objective becomes a constraint in turn; what is told is the last of these models
    columns = _columns(problem)
    last = next(reversed(_rows(problem)), None)
    model = _model(problem, columns, named.get("solver"), without=last)
    yield model
    yield _outcome(model, problem, columns)


def _rows(problem: Any) -> Any:
    return problem._constraints if hasattr(problem, "_constraints") else problem.constraints  # no deprecation warning


def _columns(problem: Any) -> list[Any]:
    return [each for each in problem.variables() if each.name != "__dummy"]


def _model(problem: Any, columns: list[Any], solver: Any, without: str | None = None) -> Model:
    pulp = sys.modules["pulp"]
    objective, rows = problem.objective, _rows(problem)
    solver = solver or problem.solver or pulp.LpSolverDefault
    mip = getattr(solver, "mip", True)  # else the relaxation is solved
    whole = sum(map(len, rows.values())) <= COEFFICIENTS_WORTH_READING
    named = names([each.name for each in columns])
    key = dict(zip(map(id, columns), named, strict=True))
    described = []
    for name, row in rows.items() if whole else ():
        if name != without:
            described.append(constraint(name, _terms(row.items(), key), _OPERATORS[row.sense], 0.0 - row.constant))
    return Model(
        source="pulp",
        sense="maximize" if problem.sense == pulp.LpMaximize else "minimize",
        costs="{}" if objective is None else _terms(objective.items(), key),
        offset=0.0 if objective is None else objective.constant,
        variables=variables(
            named,
            [bool(mip) and each.cat == "Integer" for each in columns],
            [each.lowBound for each in columns],
            [each.upBound for each in columns],
        ),
        constraints=described,
        solver=getattr(solver, "name", type(solver).__name__),
        whole=whole,
    )


def _terms(pairs: Any, key: dict[int, str]) -> str:
    found = [
        f"{key[id(each)]}:1.0" if factor == 1 else f"{key[id(each)]}:{float(factor)!r}"
        for each, factor in pairs
        if id(each) in key
    ]
    return "{" + ",".join(found) + "}"


def _outcome(model: Model, problem: Any, columns: list[Any]) -> Outcome:
    pulp = sys.modules["pulp"]
    return Outcome(
        model,
        status=str(pulp.LpStatus.get(problem.status, problem.status)),
        objective=None if problem.objective is None else problem.objective.value(),
        values=[each.varValue for each in columns],
    )
