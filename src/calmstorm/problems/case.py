"""A generated problem before it becomes a `Problem`: its text, its reference model, how a person would lay it out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from calmstorm.records import LinearModel


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
    size: int
    """Number of names (list, sites) or of rows (matrix)."""
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
        bound = round(self.model.rows[index].bound, 2)
        return str(int(bound)) if bound == int(bound) else f"{bound:.2f}".rstrip("0")
