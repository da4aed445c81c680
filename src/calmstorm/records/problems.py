"""Word problems, their labels and reference formulations."""

from __future__ import annotations

from enum import StrEnum

from calmstorm.records.base import Record


class LabelStatus(StrEnum):
    """What a published label says. Only `OPTIMAL` carries a number."""

    OPTIMAL = "optimal"
    NO_OPTIMUM = "no_optimum"
    """The source says "no best solution" without saying which kind."""
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    MISSING = "missing"
    SENTINEL = "sentinel"
    """A magic number such as -99999 stands where a label should."""


class Sense(StrEnum):
    """Direction of optimization."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class Domain(StrEnum):
    """What values a decision variable may take."""

    CONTINUOUS = "continuous"
    INTEGER = "integer"
    BINARY = "binary"


class ReferenceConstraint(Record):
    """One constraint of a reference model: `coefficients . x  operator  bound`."""

    name: str
    """What the constraint limits, in the words of the problem ("labor", "demand of Lima")."""
    coefficients: tuple[float, ...]
    """One per variable, in the order of `LinearModel.variables`."""
    operator: str
    """`<=`, `>=` or `==`."""
    bound: float
    group: str = ""
    """Name of the family of like constraints it belongs to ("supply"), where there is one."""


class LinearModel(Record):
    """A reference formulation: what an OR expert would write for the problem."""

    sense: Sense
    objective: str
    """What is optimized, in the words of the problem ("profit")."""
    variables: tuple[str, ...]
    costs: tuple[float, ...]
    rows: tuple[ReferenceConstraint, ...]
    domains: tuple[Domain, ...]
    """One per variable. All variables are >= 0; binaries are <= 1."""


class Problem(Record):
    """A word problem with its label."""

    id: str
    question: str
    """The text, verbatim."""
    answer: float | None = None
    """Optimal objective value; None unless `status` is `optimal`."""
    status: LabelStatus = LabelStatus.MISSING
    suite: str = ""
    """Benchmark or suite the problem belongs to ("easy", "nl4opt")."""
    label_version: str = ""
    """Which published version of the labels this is."""
    tolerance: float | None = None
    """Relative tolerance that this label needs, where it is coarser than the default."""
    family: str = ""
    """Kind of problem, for generated ones ("diet")."""
    reference: LinearModel | None = None
    """Reference formulation, where one is known."""

    @property
    def label(self) -> float | str | None:
        """The label as one value: a number, a status word, or None when it is missing."""
        if self.status is LabelStatus.OPTIMAL:
            return self.answer
        return None if self.status is LabelStatus.MISSING else self.status.value
