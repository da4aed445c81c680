# ruff: noqa: ANN401 -- numbers of whatever type a library uses
"""Optimization models and their outcomes as JSON text.

The text is built directly: recording takes time from the script, and objects in between would cost as much again. A
line holds one object with the fields of `calmstorm.records.Formulation` and its serial number, or the outcome of a
model that was written before. Infinite bounds are null.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _escaped
from typing import Any

from .matrices import Row, TooLargeError

NOT_SOLVED = "Not solved"
SOLVED = ("Optimal", "Feasible")
"""Statuses of OR-Tools that come with values."""

Terms = Iterable[tuple[Any, Any]]
"""A linear expression: the key of each variable and its coefficient."""


class Model:
    """A model as a solver is given it.

    Args:
        source: Library it comes from ("pulp").
        columns: Name, whether it is integer, lower and upper bound of each variable. Repeated names are made distinct,
            empty ones replaced; a bound that is infinite or None is none.
        costs: The objective.
        maximize: Direction of the objective.
        offset: Constant of the objective.
        solver: Name of the solver.
        keys: What `Terms` call the variables; their positions when None.
        whole: False when the model has parts that are not linear, which are left out.
    """

    def __init__(
        self,
        source: str,
        columns: Iterable[tuple[Any, Any, Any, Any]],
        costs: Terms,
        *,
        maximize: Any = False,
        offset: float = 0.0,
        solver: str = "",
        keys: Iterable[Any] | None = None,
        whole: bool = True,
    ) -> None:
        columns = list(columns)
        names = _distinct(str(name) for name, *_ in columns)
        self._names: Mapping[Any, str] | Sequence[str] = names if keys is None else dict(zip(keys, names, strict=True))
        self.source = source
        self.solver = solver
        self.whole = whole
        self.serial = ""
        """Given by the recorder; "" while it is not recorded."""
        self.size = len(names)
        self._sense = "maximize" if maximize else "minimize"
        self._offset = offset
        self._variables = _variables(names, columns)
        self._costs = self._sum(costs)
        self._constraints: list[str] = []
        self._rows = 0

    @contextlib.contextmanager
    def without_rows_if_too_large(self) -> Iterator[None]:
        """Leaves the constraints out when the code inside raises `TooLargeError`."""
        try:
            yield
        except TooLargeError:
            self.whole = False
            self._constraints = []

    def add_row(self, name: str, terms: Terms, lower: Any, upper: Any) -> None:
        """Adds the constraints that `lower <= terms <= upper` amounts to: none, one or two."""
        name = name or f"r{self._rows}"
        self._rows += 1
        low, high = _finite(lower), _finite(upper)
        left = self._sum(terms)
        if low is not None and low == high:
            self._constraints.append(_constraint(name, left, "==", low))
            return
        if low is not None:
            self._constraints.append(_constraint(name if high is None else f"{name}_low", left, ">=", low))
        if high is not None:
            self._constraints.append(_constraint(name if low is None else f"{name}_high", left, "<=", high))

    def add_rows(
        self, rows: Iterable[Row], lower: Iterable[Any], upper: Iterable[Any], names: Iterable[str] = ()
    ) -> None:
        """Adds constraints in the form of a matrix with a lower and an upper limit for each row."""
        titles = itertools.chain(names, itertools.repeat(""))
        for (indices, factors), low, high, title in zip(rows, lower, upper, titles, strict=False):
            self.add_row(title, zip(indices, factors, strict=True), low, high)

    def line(self, *, rows: bool = True, columns: bool = True) -> bytes:
        """The record, with or without its constraints and its variables."""
        return (
            f'{{"serial":"{self.serial}","source":"{self.source}","sense":"{self._sense}",'
            f'"costs":{self._costs if columns else "{}"},"offset":{_number(self._offset)},'
            f'"variables":[{",".join(self._variables) if columns else ""}],'
            f'"constraints":[{",".join(self._constraints) if rows else ""}],'
            f'"solver":{_escaped(self.solver)},"solver_status":"{NOT_SOLVED}",'
            f'"truncated":{"false" if self.whole and rows else "true"}}}\n'
        ).encode()

    def _sum(self, terms: Terms) -> str:
        """Returns a linear expression; coefficients of the same variable are added up, zeros left out."""
        total: dict[Any, float] = {}
        for key, factor in terms:
            total[key] = total.get(key, 0.0) + float(factor)
        names = self._names
        return "{" + ",".join([f"{names[key]}:{factor!r}" for key, factor in total.items() if factor]) + "}"


@dataclass
class Outcome:
    """What a solver answered."""

    model: Model
    status: str
    objective: Any = None
    values: Sequence[Any] | None = None
    """One for each variable, in the order of the model."""

    def line(self, *, values: bool = True) -> bytes:
        """The record, with or without the values."""
        shown = self.values if values and self.values is not None else ()
        return (
            f'{{"serial":"{self.model.serial}","solver_status":{_escaped(self.status)},'
            f'"objective":{_number(self.objective)},"values":{_list(shown)}}}\n'
        ).encode()


def _list(values: Sequence[Any]) -> str:
    try:
        return json.dumps(values, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps([_finite(value) for value in values])


def _finite(value: Any) -> float | None:
    """Returns a number; None for what is none or infinite."""
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) else None


def _number(value: Any) -> str:
    """Returns a number as JSON; null for what is none or infinite."""
    number = _finite(value)
    return "null" if number is None else repr(number + 0.0)  # no -0.0


def _distinct(given: Iterable[str]) -> list[str]:
    """Returns distinct names as JSON strings."""
    names = [name or f"x{index}" for index, name in enumerate(given)]
    if len(set(names)) < len(names):
        seen: set[str] = set()
        for index, name in enumerate(names):
            names[index] = name if name not in seen else f"{name}#{index}"
            seen.add(names[index])
    return [_escaped(name) for name in names]


def _variables(names: Sequence[str], columns: Sequence[tuple[Any, Any, Any, Any]]) -> list[str]:
    kinds: dict[tuple[Any, Any, Any], str] = {}  # most have the same domain and bounds
    described = []
    for name, (_, *kind) in zip(names, columns, strict=True):
        key = tuple(kind)
        if key not in kinds:
            kinds[key] = _kind(*key)
        described.append(f'{{"name":{name},{kinds[key]}}}')
    return described


def _kind(integer: Any, lower: Any, upper: Any) -> str:
    low, high = _number(lower), _number(upper)
    domain = "continuous" if not integer else "binary" if (low, high) == ("0.0", "1.0") else "integer"
    return f'"domain":"{domain}","lower":{low},"upper":{high}'


def _constraint(name: str, left: str, operator: str, bound: float) -> str:
    return f'{{"name":{_escaped(name)},"coefficients":{left},"operator":"{operator}","bound":{0.0 + bound!r}}}'
