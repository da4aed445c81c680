# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""OR-Tools' CP-SAT: `CpSolver.solve`.

Linear constraints and clauses are recorded; a clause over literals is linear in 0-1 variables, also one that other
literals enforce. Of a model with anything else (conditional sums, values with holes, all-different, intervals, ...)
the linear part is recorded, and that it is not whole.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from .matrices import check_size
from .models import NOT_SOLVED, SOLVED, Model, Outcome
from .recorder import wrap

_INFINITY = 2**62
"""Bounds of 64-bit integers from here on stand for none."""
_STATUS = {0: NOT_SOLVED, 1: "Model invalid", 2: "Feasible", 3: "Infeasible", 4: "Optimal"}
_CLAUSES = {"bool_or": (1, None), "at_most_one": (None, 1), "exactly_one": (1, 1)}
"""Least and largest number of true literals."""


def wrap_cp_sat(module: Any) -> None:
    """Wraps the class's methods, of which older versions have the second alone."""
    for name in ("solve", "Solve"):
        wrap(module.CpSolver, name, _solve)


def _solve(solver: Any, model: Any, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    read = model.proto if hasattr(model, "proto") else model.Proto()
    domains = [list(column.domain) for column in read.variables]
    maximize, costs, offset = _objective(read)
    record = Model(
        "ortools.cp_sat",
        [
            (column.name, True, _bound(domain[0]), _bound(domain[-1]))
            for column, domain in zip(read.variables, domains, strict=True)
        ],
        costs,
        maximize=maximize,
        offset=offset,
        solver="CP-SAT",
        # asking for assumptions that are not there would make them
        whole=not len(read.assumptions) and all(len(domain) == 2 for domain in domains),
    )
    with record.without_rows_if_too_large():
        _add_rows(record, read)
    answer = yield record
    status = _STATUS.get(int(answer), str(answer))
    if status in SOLVED:
        response = solver.response_proto if hasattr(solver, "response_proto") else solver.ResponseProto()
        yield Outcome(record, status, response.objective_value, list(response.solution))
    else:
        yield Outcome(record, status)


def _add_rows(record: Model, read: Any) -> None:
    size = 0
    for index, row in enumerate(read.constraints):
        sums = _linear(row)
        if sums is None:
            record.whole = False
            continue
        size += sum(len(terms) for terms, _, _ in sums)
        check_size(size)
        for number, (terms, low, high) in enumerate(sums):
            name = (row.name or f"r{index}") + (f"_{number}" if len(sums) > 1 else "")
            record.add_row(name, terms, low, high)


_Sum = tuple[list[tuple[int, int]], int | None, int | None]
"""Pairs of column and coefficient, lower and upper limit."""


def _linear(row: Any) -> list[_Sum] | None:
    """Returns the sums that a constraint amounts to; None where it is not linear."""
    conditions = [_literal(reference) for reference in row.enforcement_literal]
    if _has(row, "linear"):
        domain = list(row.linear.domain)
        if conditions or len(domain) != 2:
            return None
        return [(list(zip(row.linear.vars, row.linear.coeffs, strict=True)), _bound(domain[0]), _bound(domain[1]))]
    if _has(row, "bool_and"):  # each of them holds, or one of the conditions does not
        return [_count([_literal(reference)], 1, None, unless=conditions) for reference in row.bool_and.literals]
    for kind, (least, most) in _CLAUSES.items():
        if _has(row, kind) and (kind == "bool_or" or not conditions):
            return [_count(map(_literal, getattr(row, kind).literals), least, most, unless=conditions)]
    return None


def _count(
    literals: Iterable[tuple[int, int, int]],
    least: int | None,
    most: int | None,
    unless: list[tuple[int, int, int]],
) -> _Sum:
    """Limits the number of true literals, to which those are added that conditions name and that are false."""
    counted = [*literals, *((column, -factor, 1 - constant) for column, factor, constant in unless)]
    constant = sum(constant for _, _, constant in counted)
    return (
        [(column, factor) for column, factor, _ in counted],
        None if least is None else least - constant,
        None if most is None else most - constant,
    )


def _literal(reference: int) -> tuple[int, int, int]:
    """Returns column, coefficient and constant of a literal: x, or 1 - x for the negation of x."""
    return (reference, 1, 0) if reference >= 0 else (-reference - 1, -1, 1)


def _objective(read: Any) -> tuple[bool, list[tuple[int, float]], float]:
    """Returns whether to maximize, the costs and their constant."""
    if _has(read, "floating_point_objective"):
        goal = read.floating_point_objective
        return goal.maximize, list(zip(goal.vars, goal.coeffs, strict=True)), goal.offset
    if not _has(read, "objective"):
        return False, [], 0.0
    goal = read.objective
    scale = goal.scaling_factor or 1.0  # negative where a maximization is stored as the opposite minimization
    costs = [(column, scale * factor) for column, factor in zip(goal.vars, goal.coeffs, strict=True)]
    return scale < 0, costs, scale * goal.offset


def _bound(value: int) -> int | None:
    return value if abs(value) < _INFINITY else None


def _has(message: Any, field: str) -> bool:
    """Asks a protocol buffer, in the way of either wrapping that CP-SAT has had."""
    ask = getattr(message, f"has_{field}", None)
    return bool(message.HasField(field) if ask is None else ask())
