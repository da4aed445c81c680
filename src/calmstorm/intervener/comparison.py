"""How a model that a script solved differs from the reference formulation.

Constraints are compared by their shape (coefficients in any order, operator, bound, all up to a common factor), not by
names, so that a script may call its variables what it likes. This is what an OR expert sees at a glance: wrong
direction, missing integrality, a constraint that is not there or not right. Not seen: coefficients swapped between two
variables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from calmstorm.records import Domain, Formulation, LinearModel, Row, Sense

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
    rows: tuple[Row, ...] = ()
    """Reference constraints that the solved model lacks in this form."""

    def __bool__(self) -> bool:
        return self.sense or self.domain or self.objective or self.sign or bool(self.rows)


def compare_models(reference: LinearModel, solved: Formulation) -> Difference:
    """Returns the differences between a reference and a solved model."""
    shapes = Counter(_shape(list(c.coefficients.values()), c.operator, c.bound) for c in solved.constraints)
    shapes.update(_bound_shapes(solved))
    missing = []
    for row in reference.rows:
        shape = _shape(list(row.coefficients), row.operator, row.bound)
        if shapes[shape] > 0:
            shapes[shape] -= 1
        else:
            missing.append(row)
    wanted = _costs(reference.costs, reference.sense)
    found = _costs(solved.costs.values(), solved.sense)
    reversed_ = found != wanted and found == sorted(-c for c in wanted)
    return Difference(
        sense=reversed_ or (found != wanted and reference.sense is not solved.sense),
        domain=_discrete(reference.domains) != _discrete(v.domain for v in solved.variables)
        or _taken_twice(reference, solved),
        objective=found != wanted and not reversed_,
        sign=any(v.lower is None or v.lower < 0 for v in solved.variables),
        rows=tuple(missing),
    )


def _costs(costs: Iterable[float], sense: Sense) -> list[float]:
    """Objective coefficients as of a minimization; scripts may minimize the negative of what is to be maximized."""
    sign = 1.0 if sense is Sense.MINIMIZE else -1.0
    return sorted(round(sign * c, 6) for c in costs if c)


def minimizes_negative(solved: Formulation) -> bool:
    """Whether a model is a maximization in disguise: it minimizes, and no coefficient of the objective is positive."""
    costs = [cost for cost in solved.costs.values() if cost]
    return solved.sense is Sense.MINIMIZE and bool(costs) and max(costs) < 0


def _taken_twice(reference: LinearModel, solved: Formulation) -> bool:
    """Whether a choice is taken more than once although the reference has only yes-or-no decisions."""
    if Domain.INTEGER in reference.domains or Domain.BINARY not in reference.domains:
        return False
    return any(v.domain is Domain.INTEGER and v.value is not None and v.value > 1.5 for v in solved.variables)


def _shape(coefficients: list[float], operator: str, bound: float) -> Shape:
    """Canonical form of a constraint.

    `>=` is turned into `<=`, zero terms are dropped, the largest coefficient is scaled to 1, terms are sorted, and of
    the two ways to write an equation the one with the larger terms is taken.
    """
    sign = -1.0 if operator == ">=" else 1.0
    scale = sign / max((abs(c) for c in coefficients if c), default=1.0)
    values = tuple(sorted(round(scale * c, 6) + 0.0 for c in coefficients if c))
    right = round(scale * bound, 6) + 0.0
    if operator != "==":
        return (values, "<=", right)
    mirrored = tuple(sorted(-c + 0.0 for c in values))
    return max((values, "==", right), (mirrored, "==", -right + 0.0))


def _bound_shapes(solved: Formulation) -> list[Shape]:
    """Bounds of single variables count as the constraints they are equivalent to."""
    shapes = []
    for variable in solved.variables:
        if variable.upper is not None and variable.domain is not Domain.BINARY:
            shapes.append(_shape([1.0], "<=", variable.upper))
        if variable.lower:
            shapes.append(_shape([1.0], ">=", variable.lower))
    return shapes


def _discrete(domains: Iterable[Domain]) -> int:
    """Number of integer or binary variables."""
    return sum(domain is not Domain.CONTINUOUS for domain in domains)
