r"""Reads the one number that a box states, however it is dressed: units, currency, separators, fractions, LaTeX.

The rule is: exactly one number, or none. `\boxed{x = 3, y = 4}` states two and therefore gives nothing; guessing which
one was meant is how graders credit wrong answers. Not covered, on purpose: arithmetic (`3 \cdot 4`), roots, decimal
commas (`3,5`) and inequalities.
"""

from __future__ import annotations

import math
import re

_PLAIN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")

_NUMERAL = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
_TOKEN = re.compile(
    rf"""
    (?<![A-Za-z0-9_.])                                   # H2O and x1 hold no number
    (?P<sign>[+-]?)\s*
    (?:
        (?P<power_only>10)\^\{{?(?P<bare_exponent>[+-]?\d+)\}}?
      | (?:(?P<whole>\d+)\s+)?(?P<over>{_NUMERAL})\s*/\s*(?P<under>{_NUMERAL})
      | (?P<numeral>{_NUMERAL})
        (?:[eE](?P<exponent>[+-]?\d+)|\s*[*x]\s*10\^(?P<tex_exponent>[+-]?\d+))?
    )
    (?:\s*(?P<scale>thousand|million|billion)\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9}

_REPLACEMENTS = (
    (re.compile("[\u2212\u2013\u2014\ufe63\uff0d]"), "-"),
    (re.compile(r"\\[$%#&]|[$%\u20ac\u00a3\u00a5\u20b9]"), " "),  # currency and percent signs are units
    (re.compile(r"(?<=\d)(?:\{,\}|\\,|\\ |\\!|[\u00a0\u2009\u202f'_~ ])(?=\d{3}(?:\D|$))"), ","),
    (re.compile(r"(?<=10)\^\{\s*([+-]?\d+)\s*\}"), r"^\1"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])|\u00d7|\u00b7"), "*"),
    (re.compile(r"\\[dtc]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r" \1/\2 "),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)"), r" \1/\2 "),
    (
        re.compile(
            r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathit|mbox|operatorname|boxed|bold|boldsymbol)\*?\s*(?=\{)"
        ),
        " ",
    ),
    (
        re.compile(
            r"\\(?:left|right|displaystyle|quad|qquad|approx|euro|pounds|degree|circ)(?![A-Za-z])"
            r"|\\[,;:! ]|[\u2248\u00b0]"
        ),
        " ",
    ),
    (re.compile(r"(?<=[A-Za-z}])\s*[\^_]\s*(?:\{[^{}]*\}|\*|[A-Za-z0-9]+)|[\u00b2\u00b3]"), " "),  # m^2, x_1, Z^*
)
_EQUAL_SIGN = re.compile(r"(?<![<>!])=|\\approx(?![A-Za-z])|\u2248")
_SEVERAL = re.compile(r",\s|,(?=[A-Za-z\\])|;|\n|\\\\|\band\b|&")
_UNREADABLE = re.compile(r"\\|[<>\u2264\u2265]")


def plain_number(text: str) -> float | None:
    """Returns the number when `text` is nothing but one plain number ("1234", "-0.5", "1e12"), else None."""
    return _finite(text) if _PLAIN.fullmatch(text) else None


def stated_number(text: str) -> float | None:
    r"""Returns the one number that `text` states, or None when it states none or several.

    "$1,234.50", "15 dollars in total", "Z = 25", "-\frac{3}{4}", "1.2 \times 10^{6}" and "2.5 million" state one. A
    percent sign is read as a unit: "12.5%" is 12.5.
    """
    side = _right_hand_side(text)
    if side is None:
        return None
    for pattern, replacement in _REPLACEMENTS:
        side = pattern.sub(replacement, side)
    side = side.replace("{", " ").replace("}", " ")
    if _UNREADABLE.search(side):
        return None
    tokens = list(_TOKEN.finditer(side))
    digits_used = sum(character.isdigit() for token in tokens for character in token[0])
    if len(tokens) != 1 or digits_used != sum(character.isdigit() for character in _without_names(side)):
        return None
    return _value(tokens[0])


def _right_hand_side(text: str) -> str | None:
    """Returns what follows the last equals sign of one equation chain; None for several equations."""
    sides = _EQUAL_SIGN.split(text)
    if any(_SEVERAL.search(side) for side in sides[1:-1]):
        return None
    return sides[-1] if len(sides) > 1 else text


def _without_names(text: str) -> str:
    """Drops words that hold digits (CO2, x1), which are names."""
    return re.sub(r"(?<![A-Za-z0-9_.])[A-Za-z_]\w*", " ", text)


def _value(token: re.Match[str]) -> float | None:
    part = token.groupdict()
    sign = -1.0 if part["sign"] == "-" else 1.0
    if part["power_only"]:
        size = _finite(f"1e{part['bare_exponent']}")
    elif part["under"]:
        over, under = _finite(part["over"]), _finite(part["under"])
        whole = _finite(part["whole"]) if part["whole"] else 0.0
        size = whole + over / under if over is not None and under and whole is not None else None
    else:
        exponent = part["exponent"] or part["tex_exponent"]
        size = _finite(part["numeral"] + (f"e{exponent}" if exponent else ""))
    if size is None:
        return None
    result = sign * size * _SCALES.get((part["scale"] or "").lower(), 1.0)
    return result if math.isfinite(result) else None


def _finite(text: str) -> float | None:
    number = float(text.replace(",", ""))
    return number if math.isfinite(number) else None
