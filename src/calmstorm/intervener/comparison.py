"""How a model that a script solved differs from the reference formulation.

Constraints are compared by their shape (coefficients in any order, operator, bound), not by names, so that a script
may call its variables what it likes. This is what an OR expert sees at a glance: wrong direction, missing
integrality, a constraint that is not there or not right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from calmstorm.records import Domain, Formulation, LinearModel, Row

Shape = tuple[tuple[float, ...], str, float]


@dataclass(frozen=True)
class Difference:
    """What is wrong with a solved model; all false and empty when nothing is."""

    sense: bool = False
    domain: bool = False
    objective: bool = False
    """The objective coefficients differ."""
    rows: tuple[Row, ...] = ()
    """Reference constraints that the solved model lacks in this form."""

    def __bool__(self) -> bool:
        return self.sense or self.domain or self.objective or bool(self.rows)


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
    costs = sorted(round(abs(c), 6) for c in reference.costs if c)
    solved_costs = sorted(round(abs(c), 6) for c in solved.costs.values() if c)
    return Difference(
        sense=reference.sense is not solved.sense,
        domain=_discrete(d for d in reference.domains) != _discrete(v.domain for v in solved.variables),
        objective=costs != solved_costs,
        rows=tuple(missing),
    )


def _shape(coefficients: list[float], operator: str, bound: float) -> Shape:
    """Canonical form of a constraint: `>=` is turned into `<=`, zero terms are dropped, terms are sorted."""
    sign = -1.0 if operator == ">=" else 1.0
    values = tuple(sorted(round(sign * c, 6) + 0.0 for c in coefficients if c))
    return (values, "==" if operator == "==" else "<=", round(sign * bound, 6) + 0.0)


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
