"""What model-written code did: executions, and the optimization models that they handed to solvers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import chain, combinations

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


_NUMERAL = re.compile(r"(?<![\w.])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d*)?(?:[eE][+-]?\d{1,3})?(?![\w])")
_FINITE = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
BACKING_TOLERANCE = 1e-3
"""Relative difference allowed between a printed number and the solver's objective."""
MOST_SOLVES = 100
"""Different objectives of a trajectory whose sums and differences are looked at; the last ones."""
PRINTING_TOLERANCE = 0.006
"""Absolute difference allowed in addition: scripts print two decimals."""


def agrees(printed: float, solved: float, relative: float = BACKING_TOLERANCE) -> bool:
    """Whether a number that a script printed is the one that a solver found, within the tolerances of printing."""
    return abs(printed - solved) <= relative * abs(solved) + PRINTING_TOLERANCE


def is_backed(answer: float, executions: Sequence[Execution]) -> bool:
    """Whether an answer rests on what scripts did.

    Where solves were recorded, it is the objective of an optimal one (any number, where that objective was not seen),
    the sum or difference of two, or the sum of all that one script made. Where none was, a script that ran to its end
    printed it. A script may minimize the negative of what it is to maximize, so signs do not count; the verdict has
    seen to the sign of the answer.

    Args:
        answer: The number.
        executions: All of the response.
    """
    solved = [[solve for solve in execution.formulations if solve.is_optimal] for execution in executions]
    if not any(execution.formulations for execution in executions):
        printed = (number for execution in executions for number in _printed(execution))
        return any(agrees(abs(answer), abs(number)) for number in printed)
    if any(solve.objective is None for solves in solved for solve in solves):
        return True
    by_script = [[abs(solve.objective or 0.0) for solve in solves] for solves in solved]
    different = list(dict.fromkeys(value for values in by_script for value in values))[-MOST_SOLVES:]
    pairs = (value for a, b in combinations(different, 2) for value in (a + b, abs(a - b)))
    totals = (sum(values) for values in by_script if values)
    return any(agrees(abs(answer), value) for value in chain(different, totals, pairs))


def _printed(execution: Execution) -> Iterator[float]:
    """Yields the numbers that a script printed, if it ran to its end."""
    if execution.status is ExecutionStatus.OK:
        for numeral in _NUMERAL.findall(execution.stdout):
            yield float(numeral.replace(",", ""))


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
        """Whether an answer rests on this solve alone; see `is_backed` for what counts beside it."""
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
