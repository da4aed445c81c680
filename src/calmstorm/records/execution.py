"""What model-written code did: executions, and the optimization models that they handed to solvers."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict

from calmstorm.records.base import Record
from calmstorm.records.problems import Domain, Sense


class ExecutionStatus(StrEnum):
    """Every way an execution can end."""

    OK = "ok"
    ERROR = "error"
    """The script raised, or is not valid Python."""
    EARLY_EXIT = "early_exit"
    """The script ended its process behind our back (os._exit)."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    KILLED = "killed"
    """A signal ended it."""
    INFRASTRUCTURE = "infrastructure"
    """Our machinery failed; says nothing about the script."""


_FINITE = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
BACKING_TOLERANCE = 1e-3
"""Relative difference allowed between a printed number and the solver's objective."""
PRINTING_TOLERANCE = 0.006
"""Absolute difference allowed in addition: scripts print two decimals."""


def agrees(printed: float, solved: float, relative: float = BACKING_TOLERANCE) -> bool:
    """Whether a number that a script printed is the one that a solver found, within the tolerances of printing."""
    return abs(printed - solved) <= relative * abs(solved) + PRINTING_TOLERANCE


class Variable(Record):
    """A decision variable of a solved model."""

    model_config = _FINITE

    name: str
    domain: Domain
    lower: float | None
    upper: float | None
    value: float | None = None


class Constraint(Record):
    """A constraint of a solved model: `sum(coefficients[name] * name)  operator  bound`."""

    model_config = _FINITE

    name: str
    coefficients: dict[str, float]
    operator: str
    bound: float


class Formulation(Record):
    """An optimization model that a script actually handed to a solver."""

    model_config = _FINITE

    source: str
    """Library it was captured from ("pulp")."""
    sense: Sense
    costs: dict[str, float]
    offset: float = 0.0
    """Constant of the objective."""
    variables: tuple[Variable, ...]
    constraints: tuple[Constraint, ...]
    solver: str = ""
    solver_status: str = ""
    """As the library words it; `Not solved` where the solve raised or a limit of the interpreter ended it."""
    objective: float | None = None
    truncated: bool = False
    """True when it is not the whole model: that was too large to record, or has parts that are not linear."""

    @property
    def is_optimal(self) -> bool:
        """Whether the solver called its solution optimal."""
        return self.solver_status.lower() == "optimal"

    def backs(self, answer: float) -> bool:
        """Whether an answer rests on this solve: it is optimal, and its objective, where one was seen, is the answer.

        A script may minimize the negative of what it is to maximize, so the sign does not count; the verdict has seen
        to the sign of the answer.
        """
        return self.is_optimal and (self.objective is None or agrees(abs(answer), abs(self.objective)))


class Execution(Record):
    """What came of running one script."""

    status: ExecutionStatus
    stdout: str
    stderr: str = ""
    wall_seconds: float
    cpu_seconds: float = 0.0
    peak_rss_mb: float = 0.0
    """Largest resident set of the script's processes, MiB."""
    tier: str
    """Isolation it ran under: `namespaces`, `landlock` or `unsafe`."""
    formulations: tuple[Formulation, ...] = ()
