# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""OR-Tools' CP-SAT: `CpSolver.solve`.

Linear constraints and clauses are told; a clause over literals is linear in 0-1 variables, and so is one that others
enforce. A model with anything else (conditional sums, values with holes, all-different, intervals, ...) is told as far
as it is linear and marked as not whole.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

from .notation import COEFFICIENTS_WORTH_READING, NOT_SOLVED, Model, Outcome, names, sides, terms, variables
from .recording import wrap

_INFINITY = 2**62
"""Bounds of 64-bit integers from here on stand for none."""
_STATUS = {0: NOT_SOLVED, 1: "Model invalid", 2: "Feasible", 3: "Infeasible", 4: "Optimal"}
_SOLVED = ("Optimal", "Feasible")
_CLAUSES = {"bool_or": (1, None), "at_most_one": (None, 1), "exactly_one": (1, 1)}
"""Least and largest number of true literals."""


def wrap_cp_sat(module: Any) -> None:
    """Wraps the class's methods, of which older versions have the second alone."""
    for name in ("solve", "Solve"):
        wrap(module.CpSolver, name, _solve)


def _solve(solver: Any, model: Any, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    read = model.proto if hasattr(model, "proto") else model.Proto()
    named = names([each.name for each in read.variables])
    limited: list[str] = []
    whole = not len(read.assumptions)  # asking for a part that is not there would make it
    size = 0
    for index, row in enumerate(read.constraints):
        sums = _linear(row)
        size += sum(len(columns) for columns, _, _, _ in sums or ())
        if sums is None or size > COEFFICIENTS_WORTH_READING:
            whole = False
            continue
        for number, (columns, factors, low, high) in enumerate(sums):
            title = (row.name or f"r{index}") + (f"_{number}" if len(sums) > 1 else "")
            limited += sides(title, terms(named, columns, factors), low, high)
    domains = [list(each.domain) for each in read.variables]
    sense, costs, offset = _objective(read, named)
    told = Model(
        source="ortools.cp_sat",
        sense=sense,
        costs=costs,
        offset=offset,
        variables=variables(
            named,
            [True] * len(named),
            [_bound(domain[0]) for domain in domains],
            [_bound(domain[-1]) for domain in domains],
        ),
        constraints=limited,
        solver="CP-SAT",
        whole=whole and all(len(domain) == 2 for domain in domains),
    )
    answer = yield told
    status = _STATUS.get(int(answer), str(answer))
    response = solver.response_proto if hasattr(solver, "response_proto") else solver.ResponseProto()
    solved = status in _SOLVED
    yield Outcome(
        told,
        status=status,
        objective=response.objective_value if solved else None,
        values=list(response.solution) if solved else None,
    )


_Sum = tuple[list[int], list[int], int | None, int | None]
"""Columns, coefficients, lower and upper limit."""


def _linear(row: Any) -> list[_Sum] | None:
    """Returns the sums that a constraint amounts to; None where it is not linear."""
    conditions = [_literal(each) for each in row.enforcement_literal]
    if _has(row, "linear"):
        domain = list(row.linear.domain)
        if conditions or len(domain) != 2:
            return None
        return [(list(row.linear.vars), list(row.linear.coeffs), _bound(domain[0]), _bound(domain[1]))]
    if _has(row, "bool_and"):  # each of them holds, or one of the conditions does not
        return [_count([_literal(each)], 1, None, unless=conditions) for each in row.bool_and.literals]
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
    """Limits the number of true literals; it counts as well when one that conditions name is false."""
    counted = [*literals, *((column, -factor, 1 - constant) for column, factor, constant in unless)]
    constant = sum(constant for _, _, constant in counted)
    return (
        [column for column, _, _ in counted],
        [factor for _, factor, _ in counted],
        None if least is None else least - constant,
        None if most is None else most - constant,
    )


def _literal(reference: int) -> tuple[int, int, int]:
    """Returns column, coefficient and constant of a literal: x, or 1 - x for the negation of x."""
    return (reference, 1, 0) if reference >= 0 else (-reference - 1, -1, 1)


def _objective(read: Any, named: list[str]) -> tuple[str, str, float]:
    """Returns sense, costs and offset."""
    if _has(read, "floating_point_objective"):
        goal = read.floating_point_objective
        return "maximize" if goal.maximize else "minimize", terms(named, goal.vars, goal.coeffs), goal.offset
    if not _has(read, "objective"):
        return "minimize", "{}", 0.0
    goal = read.objective
    scale = goal.scaling_factor or 1.0  # negative where a maximization is stored as the opposite minimization
    costs = terms(named, goal.vars, [scale * factor for factor in goal.coeffs])
    return "maximize" if scale < 0 else "minimize", costs, scale * goal.offset


def _bound(value: int) -> int | None:
    return value if abs(value) < _INFINITY else None


def _has(message: Any, field: str) -> bool:
    """Asks a protocol buffer, in the way of either wrapping that CP-SAT has had."""
    ask = getattr(message, f"has_{field}", None)
    return bool(message.HasField(field) if ask is None else ask())
