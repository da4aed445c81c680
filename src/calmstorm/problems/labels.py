"""From what a data file holds as its answer to a number or a status, never both.

Published files state "no optimum" as words, nulls, empty lists and magic numbers. Only a number that can be the optimal
value of a problem becomes one; everything else becomes a status that no answer is compared with by mistake.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from calmstorm.records import LabelStatus

LARGEST = 1e20
"""Beyond this a label is an artefact of an unbounded model (4.08e+35 in NLP4LP), not an optimum."""

STATUS_PHRASES: tuple[tuple[LabelStatus, re.Pattern[str]], ...] = (
    # The order matters: "infeasible or unbounded" says neither.
    (LabelStatus.NO_OPTIMUM, re.compile(r"infeasible or unbounded|unbounded or infeasible", re.IGNORECASE)),
    (LabelStatus.INFEASIBLE, re.compile(r"\binfeasible\b|\bno (?:feasible )?solutions?\b", re.IGNORECASE)),
    (
        LabelStatus.UNBOUNDED,
        re.compile(r"\bunbounded\b|\\infty(?![A-Za-z])|\u221e|\binfinity\b|\binf\b", re.IGNORECASE),
    ),
    (LabelStatus.NO_OPTIMUM, re.compile(r"\bno (?:best|optimal) solutions?\b|\bno[ _]optimum\b", re.IGNORECASE)),
)
"""How each status is said in words."""

_NOT_FEASIBLE = re.compile(r"\b(?:not |non-?)feasible\b", re.IGNORECASE)
_NEGATED = re.compile(r"\b(?:not|isn't|never|neither)\b", re.IGNORECASE)
_SENTINEL = re.compile(r"-9{4,}")
_MISSING = frozenset({"", "null", "none", "nan", "n/a", "na", "missing"})
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_OBJECTIVE = re.compile(r"objective|optimal|optimum|maxim|minim|total|profit|cost|revenue", re.IGNORECASE)


class Label(NamedTuple):
    """A number with status `optimal`, or None with any other status."""

    answer: float | None
    status: LabelStatus


def status_word(text: str) -> LabelStatus | None:
    """Returns the status that `text` states in words, or None.

    Text with a digit states a number, and negated text ("not infeasible") states nothing.
    """
    text = _NOT_FEASIBLE.sub("infeasible", text)
    if _NEGATED.search(text) or any(character.isdigit() for character in text):
        return None
    return next((status for status, pattern in STATUS_PHRASES if pattern.search(text)), None)


def parse_label(value: object, *, magic: bool = False) -> Label:
    """Reads a label of any published shape.

    Numbers and their texts, one-element lists and their texts ("[18.0]"), dicts with an `objective`, and dicts of named
    results, of which the last that names an objective counts, else the last.

    Args:
        value: What the file holds.
        magic: Take a magic number (-9999, 4.08e+35) as the number it is written as, to count labels as published.

    Raises:
        ValueError: The value is no label; the message says what it is.
    """
    if value is None or value == [] or value == {}:
        return Label(None, LabelStatus.MISSING)
    if isinstance(value, bool):
        raise ValueError(f"the answer is the truth value {str(value).lower()}")
    if isinstance(value, int | float | Decimal):
        return _number(value, magic)
    if isinstance(value, str):
        return _text(value.strip(), magic)
    if isinstance(value, list | tuple):
        if len(value) > 1:
            raise ValueError(f"the answer is a list of {len(value)} values")
        return parse_label(value[0], magic=magic)
    if isinstance(value, Mapping):
        return parse_label(value.get("objective", value.get(_objective_key(value))), magic=magic)
    raise ValueError(f"the answer is of type {type(value).__name__}")


def _number(value: float | Decimal, magic: bool) -> Label:
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    if math.isnan(number):
        return Label(None, LabelStatus.MISSING)
    if not magic and (abs(number) > LARGEST or (number.is_integer() and _SENTINEL.fullmatch(f"{number:.0f}"))):
        return Label(None, LabelStatus.SENTINEL)
    return Label(number, LabelStatus.OPTIMAL)


def _text(text: str, magic: bool) -> Label:
    if text.lower() in _MISSING:
        return Label(None, LabelStatus.MISSING)
    if _NUMBER.fullmatch(text):
        return _number(float(text.replace(",", "")), magic)
    if text.startswith("["):
        try:
            inner = json.loads(text.replace("None", "null"))
        except ValueError:
            raise ValueError(f"the answer is the text {_short(text)}") from None
        return parse_label(inner, magic=magic)
    if text == LabelStatus.SENTINEL:
        return Label(None, LabelStatus.SENTINEL)
    status = status_word(text)
    if status is None:
        raise ValueError(f"the answer is the text {_short(text)}")
    return Label(None, status)


def _objective_key(results: Mapping[str, object]) -> str:
    """Names of decisions often follow the objective, so the last name that tells of one wins over the last name."""
    named = [key for key in results if _OBJECTIVE.search(str(key))]
    return named[-1] if named else list(results)[-1]


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
