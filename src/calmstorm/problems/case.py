"""A generated problem before it becomes a `Problem`: its text, its reference model, how a person would lay it out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from calmstorm.problems.wording import number
from calmstorm.records import Domain, LinearModel, ReferenceConstraint, Sense


class Layout(StrEnum):
    """How the data of a problem are naturally written down."""

    LIST = "list"
    """One variable per name; each constraint is a line."""
    MATRIX = "matrix"
    """One variable per pair of a row name and a column name."""
    SITES = "sites"
    """One amount and one yes/no decision per name."""


@dataclass(frozen=True)
class Case:
    """A generated problem with everything needed to write a trace for it."""

    family: str
    question: str
    model: LinearModel
    layout: Layout
    names: tuple[str, ...]
    columns: tuple[str, ...] = ()
    """Column names of a matrix."""
    bounds: tuple[str, ...] = ()
    """Right-hand sides as a person writes them ("20*50"), by row of the model; empty where the number says it all."""

    def bound_text(self, index: int) -> str:
        """Returns the right-hand side of row `index` as written in plans and code."""
        if self.bounds and self.bounds[index]:
            return self.bounds[index]
        return number(self.model.rows[index].bound)


def constraint(
    name: str, coefficients: Iterable[float], operator: str, bound: float, group: str = ""
) -> ReferenceConstraint:
    """Returns a constraint of a reference model."""
    return ReferenceConstraint(
        name=name, coefficients=tuple(map(float, coefficients)), operator=operator, bound=bound, group=group
    )


def linear_model(
    maximize: bool,
    objective: str,
    variables: Iterable[str],
    costs: Iterable[float],
    rows: Iterable[ReferenceConstraint],
    domains: Sequence[Domain] | Domain,
) -> LinearModel:
    """Returns a reference model; one domain stands for all variables."""
    variables = tuple(variables)
    return LinearModel(
        sense=Sense.MAXIMIZE if maximize else Sense.MINIMIZE,
        objective=objective,
        variables=variables,
        costs=tuple(costs),
        rows=tuple(rows),
        domains=(domains,) * len(variables) if isinstance(domains, Domain) else tuple(domains),
    )
