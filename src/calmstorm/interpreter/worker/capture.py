# ruff: noqa: ANN401 -- objects of libraries that may not be installed here
"""Records the optimization models that a script hands to a solver.

The solve functions of the libraries are wrapped once, in the warm parent; in the child each call appends one JSON
object to a pipe of its own, after the solver has answered, and nothing to what the script prints. A model too large
for what is left of the pipe's budget is recorded without its constraints and marked `truncated`.

The record is what the script's process says. A script that wants to can say something else about itself (never about
another execution); `calmstorm.interpreter.verify` solves a record anew and catches that.
"""

from __future__ import annotations

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

Model = dict[str, Any]

_ENVELOPE = 512
_COEFFICIENTS_WORTH_READING = 200_000
_recorder: Recorder | None = None
_depth = 0


class Recorder:
    """Writes records to a descriptor until its budget is spent.

    Args:
        descriptor: Where records go, one JSON object a line.
        budget: Bytes that may be written in all.
    """

    def __init__(self, descriptor: int, budget: int) -> None:
        self._descriptor = descriptor
        self._left = budget

    def write(self, model: Model) -> None:
        """Writes a record, shortened where it does not fit."""
        for shortened in (model, {**model, "constraints": [], "truncated": True}, _outline(model)):
            line = json.dumps(shortened, separators=(",", ":")).encode() + b"\n"
            if len(line) <= self._left:
                self._left -= len(line)
                while line:
                    line = line[os.write(self._descriptor, line) :]
                return


def _outline(model: Model) -> Model:
    return {**model, "constraints": [], "variables": [], "costs": {}, "truncated": True}


def start(recorder: Recorder) -> None:
    """From now on, solves are recorded."""
    global _recorder
    _recorder = recorder


def install() -> None:
    """Wraps the solve functions of the libraries that are imported."""
    if "pulp" in sys.modules:
        _install_pulp(sys.modules["pulp"])
    if "scipy.optimize" in sys.modules:
        _install_scipy(sys.modules["scipy.optimize"])
    if "highspy" in sys.modules:
        _install_highspy(sys.modules["highspy"])


def _wrap(original: Callable[..., Any], describe: Callable[..., Model]) -> Callable[..., Any]:
    @functools.wraps(original)
    def solve(*arguments: Any, **named: Any) -> Any:
        global _depth
        _depth += 1
        answer: Any = None
        try:
            answer = original(*arguments, **named)
            return answer
        finally:
            _depth -= 1
            if _depth == 0 and _recorder is not None:
                _record(describe, answer, arguments, named)

    return solve


def _record(describe: Callable[..., Model], answer: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    global _depth
    _depth += 1  # what describing calls is not the script's
    try:
        if _recorder is not None:
            _recorder.write(describe(answer, *arguments, **named))
    except Exception:
        return  # a model we cannot describe must not disturb the script
    finally:
        _depth -= 1


def _finite(value: Any) -> float | None:
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) else None


def _domain(integer: bool, lower: float | None, upper: float | None) -> str:
    if not integer:
        return "continuous"
    return "binary" if (lower, upper) == (0.0, 1.0) else "integer"


# ------------------------------------------------------------------ PuLP


def _install_pulp(pulp: Any) -> None:
    problem = pulp.LpProblem
    for name in ("solve", "resolve", "sequentialSolve"):
        if hasattr(problem, name):
            setattr(problem, name, _wrap(getattr(problem, name), _describe_pulp))


_PULP_OPERATORS = {-1: "<=", 0: "==", 1: ">="}


def _describe_pulp(_answer: Any, problem: Any, *arguments: Any, **named: Any) -> Model:
    pulp = sys.modules["pulp"]
    objective = problem.objective
    rows = problem._constraints if hasattr(problem, "_constraints") else problem.constraints  # no deprecation warning
    too_large = sum(len(row) for row in rows.values()) > _COEFFICIENTS_WORTH_READING
    variables = []
    for variable in problem.variables():
        if variable.name == "__dummy":
            continue
        lower, upper = _finite(variable.lowBound), _finite(variable.upBound)
        domain = _domain(variable.cat == "Integer", lower, upper)
        value = _finite(variable.varValue)
        variables.append({"name": variable.name, "domain": domain, "lower": lower, "upper": upper, "value": value})
    constraints = []
    for name, row in () if too_large else rows.items():
        coefficients = {term.name: float(factor) for term, factor in row.items()}
        operator, bound = _PULP_OPERATORS[row.sense], -float(row.constant)
        constraints.append({"name": str(name), "coefficients": coefficients, "operator": operator, "bound": bound})
    solver = named.get("solver") or (arguments[0] if arguments else None) or problem.solver or pulp.LpSolverDefault
    return {
        "source": "pulp",
        "sense": "maximize" if problem.sense == pulp.LpMaximize else "minimize",
        "costs": {term.name: float(factor) for term, factor in objective.items()} if objective is not None else {},
        "offset": float(objective.constant) if objective is not None else 0.0,
        "variables": variables,
        "constraints": constraints,
        "solver": getattr(solver, "name", type(solver).__name__),
        "solver_status": str(pulp.LpStatus.get(problem.status, problem.status)),
        "objective": _finite(objective.value()) if objective is not None else None,
        "truncated": too_large,
    }


# ------------------------------------------------------------------ SciPy


def _install_scipy(optimize: Any) -> None:
    for name, describe in (("linprog", _describe_linprog), ("milp", _describe_milp)):
        wrapped = _wrap(getattr(optimize, name), describe)
        setattr(optimize, name, wrapped)
        home = sys.modules.get(f"scipy.optimize._{name}")
        if home is not None:
            setattr(home, name, wrapped)


_LINPROG_STATUS = {0: "Optimal", 1: "Iteration limit", 2: "Infeasible", 3: "Unbounded", 4: "Numerical difficulties"}
_MILP_STATUS = {0: "Optimal", 1: "Iteration or time limit", 2: "Infeasible", 3: "Unbounded", 4: "Other"}


def _describe_linprog(
    answer: Any,
    c: Any,
    A_ub: Any = None,
    b_ub: Any = None,
    A_eq: Any = None,
    b_eq: Any = None,
    bounds: Any = (0, None),
    method: str = "highs",
    callback: Any = None,
    options: Any = None,
    x0: Any = None,
    integrality: Any = None,
) -> Model:
    numpy = sys.modules["numpy"]
    costs = numpy.atleast_1d(numpy.asarray(c, dtype=float)).ravel()
    pairs = numpy.asarray([(0, None)] if bounds is None else bounds, dtype=float).reshape(-1, 2)
    pairs = numpy.broadcast_to(pairs, (costs.size, 2))
    constraints = []
    for kind, operator, matrix, limits in (("ub", "<=", A_ub, b_ub), ("eq", "==", A_eq, b_eq)):
        if matrix is not None:
            names = (f"{kind}{row}" for row in range(numpy.size(limits)))
            constraints += _rows(names, matrix, operator, limits)
    return _array_model(
        "scipy.linprog", answer, costs, pairs[:, 0], pairs[:, 1], integrality, constraints,
        solver=method, status=_LINPROG_STATUS,
    )  # fmt: skip


def _describe_milp(
    answer: Any,
    c: Any,
    *,
    integrality: Any = None,
    bounds: Any = None,
    constraints: Any = None,
    options: Any = None,
) -> Model:
    numpy = sys.modules["numpy"]
    costs = numpy.atleast_1d(numpy.asarray(c, dtype=float)).ravel()
    lower, upper = numpy.zeros(costs.size), numpy.full(costs.size, numpy.inf)
    if bounds is not None:
        lows, highs = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else bounds
        lower, upper = numpy.broadcast_to(lows, costs.shape), numpy.broadcast_to(highs, costs.shape)
    described: list[Model] = []
    for block, (matrix, lows, highs) in enumerate(_linear_constraints(constraints)):
        described += _two_sided(f"c{block}_", matrix, lows, highs)
    return _array_model(
        "scipy.milp", answer, costs, lower, upper, integrality, described, solver="highs", status=_MILP_STATUS
    )


def _linear_constraints(given: Any) -> Iterable[tuple[Any, Any, Any]]:
    if given is None:
        return
    several = given if isinstance(given, list | tuple) and not _is_triple(given) else [given]
    for one in several:
        if hasattr(one, "A"):
            yield one.A, one.lb, one.ub
        else:
            parts = list(one)
            yield parts[0], *(parts[1:] + [-math.inf, math.inf][len(parts) - 1 :])


def _is_triple(given: Any) -> bool:
    return not any(hasattr(part, "A") for part in given) and len(given) == 3 and not isinstance(given[0], tuple)


def _two_sided(prefix: str, matrix: Any, lows: Any, highs: Any) -> list[Model]:
    numpy = sys.modules["numpy"]
    rows = _dense(matrix)
    lower, upper = numpy.broadcast_to(lows, rows.shape[0]), numpy.broadcast_to(highs, rows.shape[0])
    described: list[Model] = []
    for index in range(rows.shape[0]):
        described += _sides(f"{prefix}{index}", rows[index], float(lower[index]), float(upper[index]))
    return described


def _sides(name: str, row: Any, lower: float, upper: float) -> list[Model]:
    if lower == upper:
        return _rows([name], [row], "==", [lower])
    sides = []
    if math.isfinite(lower):
        sides += _rows([f"{name}_low" if math.isfinite(upper) else name], [row], ">=", [lower])
    if math.isfinite(upper):
        sides += _rows([f"{name}_high" if math.isfinite(lower) else name], [row], "<=", [upper])
    return sides


def _dense(matrix: Any) -> Any:
    numpy = sys.modules["numpy"]
    array = matrix.toarray() if hasattr(matrix, "toarray") else numpy.asarray(matrix, dtype=float)
    if array.size > _COEFFICIENTS_WORTH_READING:
        raise ValueError("too large to record")
    return numpy.atleast_2d(array)


def _rows(names: Iterable[str], matrix: Any, operator: str, limits: Any) -> list[Model]:
    numpy = sys.modules["numpy"]
    described = []
    for name, row, limit in zip(names, _dense(matrix), numpy.atleast_1d(limits), strict=True):
        if not math.isfinite(limit):
            continue  # no restriction
        coefficients = {f"x{index}": float(row[index]) for index in numpy.flatnonzero(row)}
        described.append({"name": name, "coefficients": coefficients, "operator": operator, "bound": float(limit)})
    return described


def _array_model(
    source: str,
    answer: Any,
    costs: Any,
    lower: Any,
    upper: Any,
    integrality: Any,
    constraints: list[Model],
    *,
    solver: str,
    status: dict[int, str],
) -> Model:
    numpy = sys.modules["numpy"]
    kinds = numpy.broadcast_to(0 if integrality is None else integrality, costs.shape)
    solution = getattr(answer, "x", None)
    variables = []
    for index in range(costs.size):
        low, high = _finite(lower[index]), _finite(upper[index])
        value = None if solution is None else _finite(solution[index])
        domain = _domain(bool(kinds[index]), low, high)
        variables.append({"name": f"x{index}", "domain": domain, "lower": low, "upper": high, "value": value})
    return {
        "source": source,
        "sense": "minimize",
        "costs": {f"x{index}": float(costs[index]) for index in range(costs.size)},
        "offset": 0.0,
        "variables": variables,
        "constraints": constraints,
        "solver": solver,
        "solver_status": status.get(getattr(answer, "status", -1), "Not solved"),
        "objective": _finite(getattr(answer, "fun", None)),
        "truncated": False,
    }


# ------------------------------------------------------------------ highspy


def _install_highspy(highspy: Any) -> None:
    solver = highspy.Highs
    for name in ("run", "solve"):
        if hasattr(solver, name):
            setattr(solver, name, _wrap(getattr(solver, name), _describe_highs))


def _describe_highs(_answer: Any, solver: Any, *_arguments: Any, **_named: Any) -> Model:
    highspy = sys.modules["highspy"]
    numpy = sys.modules["numpy"]
    model = solver.getLp()
    count, rows = model.num_col_, model.num_row_
    names = list(model.col_names_) if len(model.col_names_) == count else []
    names = [name or f"x{index}" for index, name in enumerate(names or [""] * count)]
    status = solver.modelStatusToString(solver.getModelStatus())
    values = list(solver.getSolution().col_value)
    kinds = list(model.integrality_) or [highspy.HighsVarType.kContinuous] * count
    variables = []
    for index in range(count):
        low, high = _finite(model.col_lower_[index]), _finite(model.col_upper_[index])
        domain = _domain(kinds[index] != highspy.HighsVarType.kContinuous, low, high)
        value = _finite(values[index]) if len(values) == count and status == "Optimal" else None
        variables.append({"name": names[index], "domain": domain, "lower": low, "upper": high, "value": value})
    matrix = numpy.zeros((rows, count)) if rows * count <= _COEFFICIENTS_WORTH_READING else None
    constraints: list[Model] = []
    if matrix is not None:
        _fill(matrix, model.a_matrix_, highspy)
        for row in range(rows):
            sides = _sides(f"r{row}", matrix[row], float(model.row_lower_[row]), float(model.row_upper_[row]))
            constraints += [_renamed(side, names) for side in sides]
    return {
        "source": "highspy",
        "sense": "maximize" if model.sense_ == highspy.ObjSense.kMaximize else "minimize",
        "costs": {names[index]: float(model.col_cost_[index]) for index in range(count)},
        "offset": float(model.offset_),
        "variables": variables,
        "constraints": constraints,
        "solver": "HiGHS",
        "solver_status": status,
        "objective": _finite(solver.getInfo().objective_function_value) if status == "Optimal" else None,
        "truncated": matrix is None,
    }


def _fill(matrix: Any, sparse: Any, highspy: Any) -> None:
    by_column = sparse.format_ == highspy.MatrixFormat.kColwise
    starts = list(sparse.start_)
    for outer in range(len(starts) - 1):
        for position in range(starts[outer], starts[outer + 1]):
            inner, value = sparse.index_[position], sparse.value_[position]
            if by_column:
                matrix[inner, outer] = value
            else:
                matrix[outer, inner] = value


def _renamed(side: Model, names: list[str]) -> Model:
    coefficients = {names[int(key[1:])]: value for key, value in side["coefficients"].items()}
    return {**side, "coefficients": coefficients}
