"""Every number that a text may be read to name, however it is written.

Beside what grading reads (1,234.5; 1.2345e3; $1.2 million; 1/2; LaTeX) these are digits of any script, percent,
numbers in words, decimal commas, separators of other countries, and digits set apart from each other ("4-0-0").
Reading is generous: one passage may be read as several numbers, and signs are left out. Not covered: arithmetic
("200 + 200"), ciphers, and words of other languages.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from calmstorm.grading.numbers import written_numbers

# fmt: off
_UNITS = {"zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
          "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
          "seventeen": 17, "eighteen": 18, "nineteen": 19}
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
# fmt: on
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_NAMES = "|".join(sorted((*_UNITS, *_TENS, *_SCALES), key=len, reverse=True))
_SPELLED = re.compile(
    rf"\b(?:{_NAMES})(?:[\s-]+(?:and\s+)?(?:{_NAMES}|point)\b)*\b|\bhalf\b|\b(?:\w+\s+)?dozen\b", re.I
)

_APART = re.compile(r"(?<![\d.,])\d(?P<gap>[^\d\n]{1,3})\d(?:(?P=gap)\d)+(?!\d)")
"""Three digits or more with the same between each two of them: "4-0-0", "4 0 0", "4x0x0"."""
_GROUPED = re.compile(
    r"(?<![\d.,])\d{1,3}(?:(?:,\d{2,3})+(?P<comma>[.,]\d+)?|(?:[.]\d{3})+(?P<dot>,\d+)?"
    r"|(?:[ _'\u2019]\d{3})+(?P<gap>[.,]\d+)?)(?!\d)"
)
"""Digits in groups: 12,34,567.8 and 1.234.567,8 and 1 234,5."""
_DECIMAL_COMMA = re.compile(r"(?<![\d.,])\d+,(?!\d{3}(?!\d))\d+(?![\d,])")
_AND_REST = re.compile(r"(?<![\d.,])(\d+)\s*(?:thousand|k)\s+(?:and\s+)?(\d{1,3})(?![\d.,])", re.IGNORECASE)
"""392 thousand and 760."""
_PERCENT = re.compile(r"\s*(?:percent|per cent|pct)\b", re.IGNORECASE)
_CURRENCY = re.compile(r"\b(?:USD|EUR|GBP|CNY|RMB|INR|Rs|US|CA|AU)\.?(?=[$\s]*\d)|[$\u20ac\u00a3\u00a5\u20b9]")
_EMPHASIS = re.compile(r"(?<![A-Za-z0-9_])[_*]+(?=[-\d])|(?<=\d)[_*]+(?![A-Za-z0-9_])")
_RAISED = frozenset("\u00b2\u00b3\u00b9\u2070\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b")


class Reading(NamedTuple):
    """A number that a passage may be read as."""

    value: float
    """Without its sign."""
    start: int
    """Offset in the plain text, characters."""
    end: int
    spelled: bool = False
    """It stands there in words."""


def readings(text: str) -> tuple[str, list[Reading]]:
    """Returns the text as it was read, without typesetting, and every number that it may be read to name there."""
    plain, numbers = written_numbers(_with_plain_characters(text))
    found = [Reading(abs(value), start, end) for value, start, end in numbers]
    found += _regrouped(plain)
    found += _spelled(plain)
    percentages = [r._replace(value=r.value / 100) for r in found if _PERCENT.match(plain, r.end)]
    return plain, [reading for reading in found + percentages if math.isfinite(reading.value)]


def _with_plain_characters(text: str) -> str:
    """Returns a text with digits, signs and spaces in their plain forms; nothing invisible stays."""
    text = html.unescape(text)
    if not text.isascii():
        text = "".join(map(_plain, text))
    text = re.sub(r"\\?%", " percent", text)
    return _EMPHASIS.sub(" ", _CURRENCY.sub(" ", text))


def _plain(character: str) -> str:
    if character.isascii() or character in _RAISED:
        return character
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):  # joiners, marks on digits
        return ""
    form = unicodedata.normalize("NFKC", character)
    if "\u2044" in form:  # one half as one character, which may follow a whole number
        return " " + form.replace("\u2044", "/")
    return "".join(str(unicodedata.decimal(part)) if part.isdecimal() else part for part in form)


def _regrouped(text: str) -> Iterator[Reading]:
    for match in _APART.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if digits[0] != "0":
            yield Reading(float(digits), *match.span())
    for match in _GROUPED.finditer(text):
        decimals = match["comma"] or match["dot"] or match["gap"] or ""
        whole = re.sub(r"\D", "", match[0].removesuffix(decimals))
        if whole[0] != "0":
            yield Reading(float(whole + decimals.replace(",", ".")), *match.span())
    for match in _DECIMAL_COMMA.finditer(text):
        yield Reading(float(match[0].replace(",", ".")), *match.span())
    for match in _AND_REST.finditer(text):
        yield Reading(1000 * float(match[1]) + float(match[2]), *match.span())


def _spelled(text: str) -> Iterator[Reading]:
    for match in _SPELLED.finditer(text):
        words = re.findall("[a-z]+|[0-9]+", match[0].lower())
        if words[0] in _SCALES and text[: match.start()].rstrip(" -")[-1:].isdigit():
            continue  # the scale of a number in digits
        yield Reading(_value(words), *match.span(), spelled=True)


def _value(words: list[str]) -> float:
    """Returns what number words come to; digits one after another make one number."""
    if words[-1] == "half":
        return 0.5
    if words[-1] == "dozen":
        return 12.0 * (float(words[0]) if words[0].isdigit() else _UNITS.get(words[0], 1))
    if len(words) > 1 and all(_UNITS.get(word, 10) < 10 for word in words):
        return float("".join(str(_UNITS[word]) for word in words))
    total, group, decimals = 0.0, 0.0, ""
    for index, word in enumerate(words):
        if word in ("and", "point"):
            continue
        if "point" in words[:index] and _UNITS.get(word, 10) < 10:
            decimals += str(_UNITS[word])
        elif word in _SCALES:
            group = (group + float(f"0.{decimals or 0}") or 1.0) * _SCALES[word]
            decimals = ""
            if word != "hundred":
                total, group = total + group, 0.0
        else:
            group += _UNITS.get(word, _TENS.get(word, 0))
    return total + group + float(f"0.{decimals or 0}")
