# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""cvxpy: what `Problem.solve` gives to a solver, in the variables of the compiled problem.

cvxpy compiles a problem into `q'x + d` under `Ax + b` in cones; zero and nonnegative ones are linear. Compiled entries
are called after the problem's variables (`x[2]`, `y[0,1]`), those that cvxpy adds after its own. Constraints on one
entry become its bounds, because that is how cvxpy compiles most bounds in the first place.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Generator, Iterator
from typing import Any

from .matrices import Row, TooLargeError, rows
from .models import Model, Outcome
from .recorder import wrap

_STATUS = {
    "optimal": "Optimal",
    "infeasible": "Infeasible",
    "unbounded": "Unbounded",
    "infeasible_or_unbounded": "Infeasible or unbounded",
    "optimal_inaccurate": "Optimal within loose tolerances",
}


class _LastModel(threading.local):
    model: Model | None = None
    """The model that this thread last gave to a solver."""


_last = _LastModel()


def wrap_chain(module: Any) -> None:
    """Wraps where the compiled problem goes to a solver."""
    wrap(module.SolvingChain, "solve_via_data", _before)


def wrap_problem(module: Any) -> None:
    """Wraps where the solver's answer is read."""
    wrap(module.Problem, "unpack_results", _after)


def _before(chain: Any, problem: Any, data: Any, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    _last.model = None
    model = _model(problem, data["param_prob"], str(chain.solver.name()))
    _last.model = model
    yield model


def _after(problem: Any, solution: Any, chain: Any, inverse_data: Any) -> Generator[Any, Any, None]:
    yield None
    if _last.model is not None:
        status = str(problem.status)
        optimal = status.startswith("optimal")
        entries = chain.solver.invert(solution, inverse_data[-1]).primal_vars if optimal else {}
        yield Outcome(
            _last.model,
            status=_STATUS.get(status, status.replace("_", " ").capitalize()),
            objective=problem.value,
            values=next((sys.modules["numpy"].ravel(entry).tolist() for entry in entries.values()), None),
        )


def _model(problem: Any, compiled: Any, solver: str) -> Model:
    costs, offset, matrix, constant = compiled.apply_parameters()[:4]
    cones = compiled.cone_dims
    linear = cones.zero + cones.nonneg
    columns = list(_entries(compiled))
    lower, upper, integer = _domains(compiled, len(columns))
    limited: list[tuple[str, Row, float | None, float | None]] = []
    whole = not (compiled.P is not None and compiled.P.nnz) and not getattr(compiled, "dir_cones", None)
    try:
        read = rows(matrix)
        for index, (row, bound) in enumerate(zip(read[:linear], (0.0 - constant).tolist(), strict=False)):
            if len(row[0]) == 1:
                _tighten(lower, upper, row, bound, equal=index < cones.zero)
            else:
                limited.append((f"r{index}", *_limits(row, bound, equal=index < cones.zero)))
        whole = whole and len(read) == linear
    except TooLargeError:
        limited, whole = [], False
    sign = -1.0 if type(problem.objective).__name__ == "Maximize" else 1.0
    model = Model(
        "cvxpy",
        zip(columns, integer, lower, upper, strict=True),
        enumerate((sign * costs).tolist()),
        maximize=sign < 0,
        offset=sign * float(offset),
        solver=solver,
        whole=whole,
    )
    for name, row, low, high in limited:
        model.add_row(name, zip(*row, strict=True), low, high)
    return model


def _entries(compiled: Any) -> Iterator[str]:
    """Yields the names of the compiled problem's entries, in their order."""
    for variable in sorted(compiled.variables, key=lambda variable: compiled.var_id_to_col[variable.id]):
        if variable.ndim == 0:
            yield variable.name()
        else:
            for place in sys.modules["numpy"].ndindex(*variable.shape[::-1]):  # the first index runs fastest
                yield f"{variable.name()}[{','.join(map(str, place[::-1]))}]"


def _domains(compiled: Any, count: int) -> tuple[list[float], list[float], list[bool]]:
    low, high = getattr(compiled, "lower_bounds", None), getattr(compiled, "upper_bounds", None)
    lower = [-math.inf] * count if low is None else low.tolist()
    upper = [math.inf] * count if high is None else high.tolist()
    integer = [False] * count
    for (index,) in compiled.x.integer_idx:
        integer[index] = True
    for (index,) in compiled.x.boolean_idx:
        integer[index] = True
        lower[index], upper[index] = max(0.0, lower[index]), min(1.0, upper[index])
    return lower, upper, integer


def _tighten(lower: list[float], upper: list[float], row: Row, bound: float, *, equal: bool) -> None:
    """Makes `factor * entry >= bound`, or `==`, a bound of the entry."""
    ((index,), (factor,)) = row
    limit = bound / factor
    if equal or factor > 0:
        lower[index] = max(lower[index], limit)
    if equal or factor < 0:
        upper[index] = min(upper[index], limit)


def _limits(row: Row, bound: float, *, equal: bool) -> tuple[Row, float | None, float | None]:
    """Returns `row >= bound`, or `==`, as a row with two limits; its signs are changed where that leaves fewer."""
    indices, factors = row
    turned = bound < 0 or (bound == 0 and all(factor < 0 for factor in factors))
    if turned:
        factors, bound = [-factor for factor in factors], 0.0 - bound
    return (indices, factors), (None if turned and not equal else bound), (bound if turned or equal else None)
