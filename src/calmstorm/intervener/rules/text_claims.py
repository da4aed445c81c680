"""Compares what a line of text states with a reference: coefficients, relation and right-hand side.

Where the line is algebra over names of the reference ("4 * desk + 2 * chair <= 40"), every coefficient is looked at;
otherwise only whether the numbers are there. When in doubt a line is taken to be right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from calmstorm.records import ReferenceConstraint

RELATION = re.compile(
    r"<=|>=|==|\u2264|\u2265|\\leq?\b|\\geq?\b|(?<![<>=])=(?!=)"
    r"|\b(?:at most|no more than|cannot exceed|up to|at least|no less than)\b",
    re.IGNORECASE,
)
_OPERATORS = {
    **dict.fromkeys(("<=", "\u2264", "\\le", "\\leq", "at most", "no more than", "cannot exceed", "up to"), "<="),
    **dict.fromkeys((">=", "\u2265", "\\ge", "\\geq", "at least", "no less than"), ">="),
    **dict.fromkeys(("=", "=="), "=="),
}
_NUMBER = r"\d+(?:,\d{3})*(?:\.\d+)?"


def states_row(statement: str, row: ReferenceConstraint, names: Sequence[str]) -> bool:
    """Whether a statement says what a constraint says; of a group of constraints only the direction is looked at.

    Args:
        statement: The line, without the constraint's label.
        row: The constraint.
        names: Variables, in the order of its coefficients.
    """
    relation = RELATION.search(statement)
    if relation is None or _OPERATORS[relation.group().lower()] != row.operator:
        return False
    if row.group:
        return True
    return states_terms(statement, row.coefficients, names) and _states_bound(statement[relation.end() :], row.bound)


def states_terms(text: str, coefficients: Sequence[float], names: Sequence[str]) -> bool:
    """Whether a text gives the coefficients: each at its name, or, where it is no algebra over names, somewhere."""
    terms = _terms(text, names)
    if terms is not None:
        return all(abs(terms.get(n.lower(), 0.0) - abs(c)) < 1e-6 for n, c in zip(names, coefficients, strict=True))
    numbers = numbers_in(text)
    for value in coefficients:
        size = abs(value)
        if size in (0.0, 1.0):
            continue
        match = next((n for n in numbers if abs(n - size) < 1e-6), None)
        if match is None:
            return False
        numbers.remove(match)
    return True


def numbers_in(text: str) -> list[float]:
    """Returns the numbers of a text, without their signs."""
    return [float(n.replace(",", "")) for n in re.findall(_NUMBER, text)]


def _terms(text: str, names: Sequence[str]) -> dict[str, float] | None:
    """Returns the size of each name's coefficient; None where the text is not plainly a sum of terms over names."""
    plain = text.replace("_", " ")
    longest_first = "|".join(re.escape(n) for n in sorted(names, key=len, reverse=True))
    term = re.compile(rf"(?:(?<![\w.])({_NUMBER})\s*\*?\s*)?(?<!\w)({longest_first})(?!\w)", re.IGNORECASE)
    sizes: dict[str, float] = {}
    for match in term.finditer(plain):
        before = plain[: match.start()].rstrip()
        name = match.group(2).lower()
        if (before and before[-1] not in "+-:(=<>\u2264\u2265\u2212$") or name in sizes:
            return None
        sizes[name] = float(match.group(1).replace(",", "")) if match.group(1) else 1.0
    return sizes or None


def _states_bound(text: str, bound: float) -> bool:
    """Whether a right-hand side says a number: as it stands, or as a product ("20*50")."""
    if bound == 0:
        return True  # its terms may stand on either side
    numbers = numbers_in(text)
    return any(abs(n - abs(bound)) < 1e-6 for n in (*numbers, math.prod(numbers)))
