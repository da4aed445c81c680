# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""SciPy: `scipy.optimize.linprog` and `milp`. Variables are called x0, x1, ..."""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Iterable
from typing import Any

from .matrices import rows
from .models import NOT_SOLVED, Model, Outcome
from .recorder import wrapped

_LINPROG_STATUS = {0: "Optimal", 1: "Iteration limit", 2: "Infeasible", 3: "Unbounded", 4: "Numerical difficulties"}
_MILP_STATUS = {0: "Optimal", 1: "Iteration or time limit", 2: "Infeasible", 3: "Unbounded", 4: "Other"}
_INTEGER = 1
"""Larger kinds of `integrality` are semi-continuous, which no bound expresses."""


def wrap_scipy(optimize: Any) -> None:
    """Wraps the functions in the package and in the modules that define them."""
    for name, observer in (("linprog", _linprog), ("milp", _milp)):
        function = wrapped(getattr(optimize, name), observer)
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
    model = _model("scipy.linprog", costs, lower, upper, integrality, str(method))
    with model.without_rows_if_too_large():
        for kind, matrix, limits in (("ub", A_ub, b_ub), ("eq", A_eq, b_eq)):
            if matrix is not None:
                bounding = _vector(limits).tolist()
                low = [-math.inf] * len(bounding) if kind == "ub" else bounding
                model.add_rows(rows(matrix), low, bounding, [f"{kind}{index}" for index in range(len(bounding))])
    yield _outcome(model, (yield model), _LINPROG_STATUS)


def _milp(
    c: Any, *, integrality: Any = None, bounds: Any = None, constraints: Any = None, options: Any = None
) -> Generator[Any, Any, None]:
    numpy = sys.modules["numpy"]
    costs = _vector(c)
    low, high = (0.0, math.inf) if bounds is None else (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else bounds
    lower, upper = numpy.broadcast_to(low, costs.shape), numpy.broadcast_to(high, costs.shape)
    model = _model("scipy.milp", costs, lower, upper, integrality, "highs")
    with model.without_rows_if_too_large():
        for block, (matrix, *limits) in enumerate(_blocks(constraints)):
            read = rows(matrix)
            lows, highs = (numpy.broadcast_to(limit, len(read)).tolist() for limit in limits)
            model.add_rows(read, lows, highs, [f"c{block}_{index}" for index in range(len(read))])
    yield _outcome(model, (yield model), _MILP_STATUS)


def _vector(given: Any) -> Any:
    numpy = sys.modules["numpy"]
    return numpy.atleast_1d(numpy.asarray(given, dtype=float)).ravel()


def _blocks(given: Any) -> Iterable[tuple[Any, Any, Any]]:
    """Yields matrix, lower and upper limits of each form in which milp takes constraints."""
    if given is None:
        return
    several = given if isinstance(given, list | tuple) and not _is_triple(given) else [given]
    for block in several:
        if hasattr(block, "A"):
            yield block.A, block.lb, block.ub
        else:
            parts = list(block)
            yield parts[0], *(parts[1:] + [-math.inf, math.inf][len(parts) - 1 :])


def _is_triple(given: Any) -> bool:
    return not any(hasattr(part, "A") for part in given) and len(given) == 3 and not isinstance(given[0], tuple)


def _model(source: str, costs: Any, lower: Any, upper: Any, integrality: Any, solver: str) -> Model:
    numpy = sys.modules["numpy"]
    kinds = numpy.broadcast_to(0 if integrality is None else integrality, costs.shape).tolist()
    return Model(
        source,
        [("", bool(kind), low, high) for kind, low, high in zip(kinds, lower.tolist(), upper.tolist(), strict=True)],
        enumerate(costs.tolist()),
        solver=solver,
        whole=all(kind <= _INTEGER for kind in kinds),
    )


def _outcome(model: Model, answer: Any, status: dict[int, str]) -> Outcome:
    values = getattr(answer, "x", None)
    return Outcome(
        model,
        status=status.get(getattr(answer, "status", -1), NOT_SOLVED),
        objective=getattr(answer, "fun", None),
        values=None if values is None else _vector(values).tolist(),
    )
