# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""SciPy: `scipy.optimize.linprog` and `milp`. Variables are called x0, x1, ..."""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Iterable
from typing import Any

from .matrices import TooLargeError, rows
from .notation import NOT_SOLVED, Model, Outcome, constraint, sides, terms, variables
from .recording import wrapped

_LINPROG_STATUS = {0: "Optimal", 1: "Iteration limit", 2: "Infeasible", 3: "Unbounded", 4: "Numerical difficulties"}
_MILP_STATUS = {0: "Optimal", 1: "Iteration or time limit", 2: "Infeasible", 3: "Unbounded", 4: "Other"}
_INTEGER = 1
"""Larger kinds of `integrality` are semi-continuous, which no bound says."""


def wrap_scipy(optimize: Any) -> None:
    """Wraps the functions, also where they were taken from."""
    for name, account in (("linprog", _linprog), ("milp", _milp)):
        function = wrapped(getattr(optimize, name), account)
        for module in (optimize, sys.modules.get(f"scipy.optimize._{name}")):
            if module is not None:
                setattr(module, name, function)


def _linprog(
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
) -> Generator[Any, Any, None]:
    numpy = sys.modules["numpy"]
    costs = _vector(c)
    pairs = numpy.asarray([(0, None)] if bounds is None else bounds, dtype=float).reshape(-1, 2)
    lower, upper = numpy.broadcast_to(pairs, (costs.size, 2)).T
    columns = _columns(costs.size)
    limited: list[str] = []
    try:
        for kind, operator, matrix, limits in (("ub", "<=", A_ub, b_ub), ("eq", "==", A_eq, b_eq)):
            for index, (row, limit) in enumerate(zip(*_paired(matrix, limits), strict=True)):
                if math.isfinite(limit):
                    limited.append(constraint(f"{kind}{index}", terms(columns, *row), operator, limit))
        whole = True
    except TooLargeError:
        limited, whole = [], False
    model = _model("scipy.linprog", costs, lower, upper, integrality, limited, whole=whole)
    model.solver = str(method)
    yield _outcome(model, (yield model), _LINPROG_STATUS)


def _milp(
    c: Any, *, integrality: Any = None, bounds: Any = None, constraints: Any = None, options: Any = None
) -> Generator[Any, Any, None]:
    numpy = sys.modules["numpy"]
    costs = _vector(c)
    lower, upper = numpy.zeros(costs.size), numpy.full(costs.size, numpy.inf)
    if bounds is not None:
        lows, highs = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else bounds
        lower, upper = numpy.broadcast_to(lows, costs.shape), numpy.broadcast_to(highs, costs.shape)
    columns = _columns(costs.size)
    limited: list[str] = []
    try:
        for block, (matrix, lows, highs) in enumerate(_blocks(constraints)):
            read = rows(matrix)
            lows, highs = numpy.broadcast_to(lows, len(read)), numpy.broadcast_to(highs, len(read))
            for index, (row, low, high) in enumerate(zip(read, lows.tolist(), highs.tolist(), strict=True)):
                limited += sides(f"c{block}_{index}", terms(columns, *row), low, high)
        whole = True
    except TooLargeError:
        limited, whole = [], False
    model = _model("scipy.milp", costs, lower, upper, integrality, limited, whole=whole)
    model.solver = "highs"
    yield _outcome(model, (yield model), _MILP_STATUS)


def _vector(given: Any) -> Any:
    numpy = sys.modules["numpy"]
    return numpy.atleast_1d(numpy.asarray(given, dtype=float)).ravel()


def _columns(count: int) -> list[str]:
    return [f'"x{index}"' for index in range(count)]


def _paired(matrix: Any, limits: Any) -> tuple[Any, Any]:
    return ((), ()) if matrix is None else (rows(matrix), _vector(limits).tolist())


def _blocks(given: Any) -> Iterable[tuple[Any, Any, Any]]:
    """Yields matrix, lower and upper limits of each form in which milp takes constraints."""
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


def _model(
    source: str, costs: Any, lower: Any, upper: Any, integrality: Any, limited: list[str], *, whole: bool
) -> Model:
    numpy = sys.modules["numpy"]
    kinds = numpy.broadcast_to(0 if integrality is None else integrality, costs.shape).tolist()
    columns = _columns(costs.size)
    return Model(
        source=source,
        sense="minimize",
        costs=terms(columns, range(costs.size), costs.tolist()),
        variables=variables(columns, map(bool, kinds), lower.tolist(), upper.tolist()),
        constraints=limited,
        whole=whole and all(kind <= _INTEGER for kind in kinds),
    )


def _outcome(model: Model, answer: Any, status: dict[int, str]) -> Outcome:
    values = getattr(answer, "x", None)
    return Outcome(
        model,
        status=status.get(getattr(answer, "status", -1), NOT_SOLVED),
        objective=getattr(answer, "fun", None),
        values=None if values is None else _vector(values).tolist(),
    )
