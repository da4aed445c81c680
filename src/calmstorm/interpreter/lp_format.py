"""Writes formulations in the LP file format that solvers read (CPLEX's, as HiGHS, CBC, Gurobi and SCIP take it)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from calmstorm.errors import InputError
from calmstorm.records import Domain, Formulation, Sense, Variable

_LINE = 250
"""Characters of a line, as far as names leave the choice; the format allows 510."""
_NAME = 199
"""Characters of a name; the format allows 255."""
_FIT = re.compile(
    r"(?!e\d|e$|max|min|subject|such|st|bound|free|inf|gen|int|bin|nan|semi|sos|end)[a-z_][a-z0-9_]{0,200}",
    re.IGNORECASE | re.ASCII,
)
"""Names that the format allows and that do not begin like one of its own words or like an exponent."""


def lp_text(formulation: Formulation) -> str:
    """Returns a model in the LP file format.

    Names are reduced to what the format allows. A constant in the objective becomes a variable fixed at 1.

    Raises:
        InputError: The record of the model is not complete.
    """
    used = set(formulation.costs).union(*(row.coefficients for row in formulation.constraints))
    listed = [variable.name for variable in formulation.variables]
    if formulation.truncated or len(set(listed)) < len(listed) or not used <= set(listed):
        raise InputError("the model was not recorded whole, so there is no LP file of it; leave --save out")
    return "\n".join(_lines(formulation)) + "\n"


def short_lp_text(formulation: Formulation, most: int) -> str:
    """Returns a model in the LP file format; "" where that takes more than `most` bytes or is not recorded whole."""
    terms = len(formulation.costs) + sum(len(row.coefficients) for row in formulation.constraints)
    if 4 * terms > most:  # a term takes four bytes at least
        return ""
    try:
        text = lp_text(formulation)
    except InputError:
        return ""
    return text if len(text) <= most else ""


def _lines(formulation: Formulation) -> Iterator[str]:
    columns = _distinct([variable.name for variable in formulation.variables])
    names = {variable.name: name for variable, name in zip(formulation.variables, columns, strict=True)}
    constant = _free("constant", set(columns))
    anything = columns[0] if columns else constant  # what a sum without terms is written with
    yield "Maximize" if formulation.sense is Sense.MAXIMIZE else "Minimize"
    costs = [(names[name], cost) for name, cost in formulation.costs.items()]
    if formulation.offset:
        costs.append((constant, formulation.offset))
    yield _broken([" obj:", *_sum(costs, anything)])
    yield "Subject To"
    titles = _distinct([row.name for row in formulation.constraints])
    for title, row in zip(titles, formulation.constraints, strict=True):
        left = _sum([(names[name], factor) for name, factor in row.coefficients.items()], anything)
        yield _broken([f" {title}:", *left, "=" if row.operator == "==" else row.operator, _number(row.bound)])
    yield "Bounds"
    if constant in (anything, *(name for name, _ in costs[-1:])):
        yield f" {constant} = 1"
    used = set(formulation.costs).union(*(row.coefficients for row in formulation.constraints))
    binary, general = [], []
    for name, variable in zip(columns, formulation.variables, strict=True):
        if variable.domain is Domain.BINARY and (variable.lower, variable.upper) == (0, 1):
            binary.append(name)
            continue
        if variable.domain is not Domain.CONTINUOUS:
            general.append(name)
        if (variable.lower, variable.upper) != (0, None) or variable.name not in used:  # else it need not be said
            yield _bounds(name, variable)
    for section, members in (("General", general), ("Binary", binary)):
        if members:
            yield section
            yield _broken(["", *members])
    yield "End"


def _sum(terms: Iterable[tuple[str, float]], anything: str) -> list[str]:
    """Returns the terms, each with its sign."""
    found = [
        f"{'-' if factor < 0 else '+'} {name}"
        if factor in (1, -1)
        else f"{'-' if factor < 0 else '+'} {_number(abs(factor))} {name}"
        for name, factor in terms
    ]
    return found or [f"0 {anything}"]


def _number(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def _bounds(name: str, variable: Variable) -> str:
    low, high = variable.lower, variable.upper
    if low is None and high is None:
        return f" {name} free"
    if low is not None and low == high:
        return f" {name} = {_number(low)}"
    left = "-inf" if low is None else _number(low)
    return f" {left} <= {name} <= {'+inf' if high is None else _number(high)}"


def _broken(words: list[str]) -> str:
    """Joins words with blanks, and with line breaks where that gets too long."""
    text = " ".join(words)
    if len(text) <= _LINE:
        return text
    lines, length = [words[0]], len(words[0])
    for word in words[1:]:
        length += 1 + len(word)
        if length > _LINE:
            lines.append("\n ")
            length = 1 + len(word)
        lines.append(word)
    return " ".join(lines)


def _distinct(names: Sequence[str]) -> list[str]:
    """Returns a distinct name that the LP format allows for each name."""
    plain = [name if _FIT.fullmatch(name) else _refitted(name) for name in names]
    if len(set(plain)) < len(plain):
        taken: set[str] = set()
        for index, name in enumerate(plain):
            plain[index] = _free(name, taken)
            taken.add(plain[index])
    return plain


def _refitted(name: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)[:_NAME]
    return name if _FIT.fullmatch(name) else f"v_{name}"


def _free(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    return next(each for i in range(1, len(taken) + 2) if (each := f"{name}_{i}") not in taken)
