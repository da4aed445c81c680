"""How a model that a script solved differs from the reference formulation.

Constraints are compared by their shape (coefficients, operator, bound, all up to a common factor). Where a script gives
its variables the names of the reference, each coefficient must stand at its variable; otherwise coefficients count in
any order. Seen are a wrong direction, missing integrality, and constraints that are missing or wrong; not seen are
coefficients swapped between renamed variables.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from calmstorm.records import Domain, Formulation, LinearModel, ReferenceConstraint, Sense

Shape = tuple[tuple[float, ...], str, float]


@dataclass(frozen=True)
class Difference:
    """What is wrong with a solved model; all false and empty when nothing is."""

    sense: bool = False
    domain: bool = False
    objective: bool = False
    """The objective coefficients differ."""
    sign: bool = False
    """A variable may go below zero."""
    rows: tuple[ReferenceConstraint, ...] = ()
    """Reference constraints that the solved model lacks in this form."""

    def __bool__(self) -> bool:
        return self.sense or self.domain or self.objective or self.sign or bool(self.rows)


def compare_models(reference: LinearModel, solved: Formulation) -> Difference:
    """Returns the differences between a reference and a solved model."""
    order = _order(reference, solved)
    shapes = Counter(_shape(_vector(c.coefficients, order), c.operator, c.bound, order) for c in solved.constraints)
    shapes.update(_bound_shapes(solved, order))
    missing = []
    for row in reference.rows:
        shape = _shape(row.coefficients, row.operator, row.bound, order)
        if shapes[shape] > 0:
            shapes[shape] -= 1
        else:
            missing.append(row)
    wanted = _costs(reference.costs, reference.sense, order)
    given = _costs(_vector(solved.costs, order), solved.sense, order)
    turned = [-cost + 0.0 for cost in wanted]
    is_turned = given != wanted and given == (turned if order else sorted(turned))
    return Difference(
        sense=is_turned or (given != wanted and reference.sense is not solved.sense),
        domain=_discrete(reference.domains) != _discrete(v.domain for v in solved.variables)
        or _taken_twice(reference, solved),
        objective=given != wanted and not is_turned,
        sign=any(v.lower is None or v.lower < 0 for v in solved.variables),
        rows=tuple(missing),
    )


def _order(reference: LinearModel, solved: Formulation) -> list[str] | None:
    """Returns the solved model's variables in the order of the reference, where they are called the same."""
    named = {_plain(v.name): v.name for v in solved.variables}
    wanted = [_plain(name) for name in reference.variables]
    return (
        [named[name] for name in wanted] if len(named) == len(solved.variables) and set(named) == set(wanted) else None
    )


def _plain(name: str) -> str:
    return re.sub(r"\W|_", "", name).lower()


def _vector(coefficients: Mapping[str, float], order: list[str] | None) -> list[float]:
    """Coefficients in the order of the reference; as they come, where there is no such order."""
    return list(coefficients.values()) if order is None else [coefficients.get(name, 0.0) for name in order]


def _costs(costs: Sequence[float], sense: Sense, order: list[str] | None) -> list[float]:
    """Objective coefficients as of a minimization; scripts may minimize the negative of what is to be maximized."""
    sign = 1.0 if sense is Sense.MINIMIZE else -1.0
    values = [round(sign * c, 6) + 0.0 for c in costs]
    return sorted(c for c in values if c) if order is None else values


def minimizes_negative(solved: Formulation) -> bool:
    """Whether a model minimizes the negative of something: it minimizes, and all its costs are below zero."""
    costs = [cost for cost in solved.costs.values() if cost]
    return solved.sense is Sense.MINIMIZE and bool(costs) and max(costs) < 0


def _taken_twice(reference: LinearModel, solved: Formulation) -> bool:
    """Whether a choice is taken more than once although the reference has only yes-or-no decisions."""
    if Domain.INTEGER in reference.domains or Domain.BINARY not in reference.domains:
        return False
    return any(v.domain is Domain.INTEGER and v.value is not None and v.value > 1.5 for v in solved.variables)


def _shape(coefficients: Sequence[float], operator: str, bound: float, order: list[str] | None) -> Shape:
    """Canonical form of a constraint.

    `>=` is turned into `<=`, the largest coefficient is scaled to 1, and of the two ways to write an equation the one
    with the larger terms is taken. Without a common order of the variables, zero terms are dropped and terms sorted.
    """
    sign = -1.0 if operator == ">=" else 1.0
    scale = sign / max((abs(c) for c in coefficients if c), default=1.0)
    values = tuple(round(scale * c, 6) + 0.0 for c in coefficients)
    if order is None:
        values = tuple(sorted(v for v in values if v))
    right = round(scale * bound, 6) + 0.0
    if operator != "==":
        return (values, "<=", right)
    mirrored = tuple(-c + 0.0 for c in values)
    if order is None:
        mirrored = tuple(sorted(mirrored))
    return max((values, "==", right), (mirrored, "==", -right + 0.0))


def _bound_shapes(solved: Formulation, order: list[str] | None) -> list[Shape]:
    """Bounds of single variables count as the constraints they are equivalent to."""
    shapes = []
    for variable in solved.variables:
        if variable.upper is not None and variable.domain is not Domain.BINARY:
            shapes.append(_shape(_vector({variable.name: 1.0}, order), "<=", variable.upper, order))
        if variable.lower:
            shapes.append(_shape(_vector({variable.name: 1.0}, order), ">=", variable.lower, order))
    return shapes


def _discrete(domains: Iterable[Domain]) -> int:
    """Number of integer or binary variables."""
    return sum(domain is not Domain.CONTINUOUS for domain in domains)
