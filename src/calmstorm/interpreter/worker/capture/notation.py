# ruff: noqa: ANN401 -- numbers of whatever type a library uses
"""Models and outcomes as JSON text, built directly: it is on a script's way, and objects would cost as much again.

A line holds one object with the fields of `calmstorm.records.Formulation` and its serial number, or the outcome of a
model that was written before. Lower and upper bounds that are infinite are null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _escaped
from typing import Any

COEFFICIENTS_WORTH_READING = 200_000
"""Models with more are recorded without their constraints."""
NOT_SOLVED = "Not solved"


@dataclass
class Model:
    """What a solver is given; the parts are JSON text."""

    source: str
    """Library ("pulp")."""
    sense: str
    """`minimize` or `maximize`."""
    costs: str
    """By `terms`."""
    variables: Sequence[str]
    """By `variables`."""
    constraints: Sequence[str]
    """By `constraint`."""
    offset: float = 0.0
    solver: str = ""
    whole: bool = True
    """False when something of it is not linear or too large, and left out."""
    serial: str = ""
    """Given by the recorder; "" while it is not recorded."""

    def line(self, *, rows: bool = True, columns: bool = True) -> bytes:
        """The record, with or without its constraints and its variables."""
        return (
            f'{{"serial":"{self.serial}","source":"{self.source}","sense":"{self.sense}",'
            f'"costs":{self.costs if columns else "{}"},"offset":{number(self.offset)},'
            f'"variables":[{",".join(self.variables) if columns else ""}],'
            f'"constraints":[{",".join(self.constraints) if rows else ""}],'
            f'"solver":{quoted(self.solver)},"solver_status":"{NOT_SOLVED}",'
            f'"truncated":{"false" if self.whole and rows else "true"}}}\n'
        ).encode()


@dataclass
class Outcome:
    """What a solver answered."""

    model: Model
    status: str
    objective: Any = None
    values: Sequence[Any] | None = None
    """One per variable, in the order of the model."""

    def line(self, *, values: bool = True) -> bytes:
        """The record, with or without the values."""
        shown = self.values if values and self.values is not None else ()
        return (
            f'{{"serial":"{self.model.serial}","solver_status":{quoted(self.status)},'
            f'"objective":{number(self.objective)},"values":{_list(shown)}}}\n'
        ).encode()


def _list(values: Sequence[Any]) -> str:
    try:
        return json.dumps(values, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps([finite(value) for value in values])


def finite(value: Any) -> float | None:
    """Returns a number, or None for what is none or infinite."""
    found = None if value is None else float(value)
    return found if found is not None and math.isfinite(found) else None


def number(value: Any) -> str:
    """Returns a number as JSON; null for what is none or infinite."""
    found = finite(value)
    return "null" if found is None else repr(found + 0.0)  # no -0.0


def quoted(text: Any) -> str:
    """Returns a JSON string."""
    return _escaped(str(text))


def names(given: Iterable[Any]) -> list[str]:
    """Returns names as JSON strings, told apart where two are the same, made up where one is empty."""
    plain = [str(name) or f"x{index}" for index, name in enumerate(given)]
    if len(set(plain)) < len(plain):
        seen: set[str] = set()
        for index, name in enumerate(plain):
            plain[index] = name if name not in seen else f"{name}#{index}"
            seen.add(plain[index])
    return [_escaped(name) for name in plain]


def terms(columns: Sequence[str], indices: Iterable[int], factors: Iterable[Any]) -> str:
    """Returns a sum of variables times coefficients; columns that come twice are added up, zeros left out."""
    total: dict[int, float] = {}
    for index, factor in zip(indices, factors, strict=True):
        total[index] = total.get(index, 0.0) + float(factor)
    return "{" + ",".join([f"{columns[index]}:{factor!r}" for index, factor in total.items() if factor]) + "}"


def variables(columns: Sequence[str], integer: Iterable[Any], lower: Iterable[Any], upper: Iterable[Any]) -> list[str]:
    """Returns the decision variables; the names are JSON strings."""
    kinds: dict[tuple[Any, Any, Any], str] = {}  # most have the same domain and bounds
    found = []
    for name, kind in zip(columns, zip(integer, lower, upper, strict=True), strict=True):
        if kind not in kinds:
            kinds[kind] = _kind(*kind)
        found.append(f'{{"name":{name},{kinds[kind]}}}')
    return found


def _kind(integer: Any, lower: Any, upper: Any) -> str:
    low, high = number(lower), number(upper)
    domain = "continuous" if not integer else "binary" if (low, high) == ("0.0", "1.0") else "integer"
    return f'"domain":"{domain}","lower":{low},"upper":{high}'


def constraint(name: str, left: str, operator: str, bound: Any) -> str:
    """Returns a constraint; the left side is by `terms`."""
    return f'{{"name":{quoted(name)},"coefficients":{left},"operator":"{operator}","bound":{0.0 + float(bound)!r}}}'


def sides(name: str, left: str, lower: Any, upper: Any) -> list[str]:
    """Returns the constraints that `lower <= left <= upper` amounts to: none, one or two."""
    low, high = finite(lower), finite(upper)
    if low is not None and low == high:
        return [constraint(name, left, "==", low)]
    found = []
    if low is not None:
        found.append(constraint(name if high is None else f"{name}_low", left, ">=", low))
    if high is not None:
        found.append(constraint(name if low is None else f"{name}_high", left, "<=", high))
    return found
