"""The one comparator (paper eq. 3): |Ans - Ans*| / |Ans*| <= tolerance.

Computed exactly on the decimal numbers as written, so that neither rounding nor the size of the numbers decides. A
label of 0, where eq. 3 is undefined, uses the same tolerance as an absolute one.
"""

from __future__ import annotations

import math
from fractions import Fraction

from calmstorm.errors import SettingsError
from calmstorm.records import LabelStatus

TOLERANCE = 1e-3
"""Relative tolerance of the paper (eq. 3)."""

_ANSWERED_BY: dict[str, frozenset[str]] = {
    LabelStatus.INFEASIBLE: frozenset({LabelStatus.INFEASIBLE}),
    LabelStatus.UNBOUNDED: frozenset({LabelStatus.UNBOUNDED}),
    # The source says that there is no optimum and not why; either reason agrees with it.
    LabelStatus.NO_OPTIMUM: frozenset({LabelStatus.NO_OPTIMUM, LabelStatus.INFEASIBLE, LabelStatus.UNBOUNDED}),
}


def compare(expected: float | str | None, got: float | str | None, tolerance: float = TOLERANCE) -> bool:
    """Says whether an answer agrees with a label.

    Args:
        expected: The label: a number or a status word. None and sentinels agree with nothing, not even with None.
        got: The answer: a number, a status word or None.
        tolerance: Relative tolerance, >= 0; absolute where the label is 0.

    Raises:
        SettingsError: The tolerance is negative or not a number.
    """
    if not 0 <= tolerance < math.inf:
        raise SettingsError(f"tolerance is {tolerance}; it must be a finite number >= 0: the paper's is {TOLERANCE}")
    if expected is None or got is None:
        return False
    if isinstance(expected, str) or isinstance(got, str):
        return isinstance(got, str) and isinstance(expected, str) and got in _ANSWERED_BY.get(expected, ())
    if not (math.isfinite(expected) and math.isfinite(got)):
        return False
    label, answer, share = _exact(expected), _exact(got), _exact(tolerance)
    return abs(answer - label) <= share * (abs(label) if label else 1)


def _exact(number: float) -> Fraction:
    """Returns the decimal number that `repr` shows, not its nearest binary fraction."""
    return Fraction(repr(float(number)))
