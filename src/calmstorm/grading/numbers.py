r"""Reads the one number that a box states, however it is written: units, currency, separators, fractions, LaTeX.

The rule is: exactly one number, or none. `\boxed{x = 3, y = 4}` states two and therefore gives nothing; a guess at
which one was meant would credit wrong answers. Not covered, on purpose: arithmetic (`3 \cdot 4`), roots, decimal
commas (`3,5`; `3,500` is read as in English) and inequalities.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_PLAIN = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")

_NUMERAL = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
_TOKEN = re.compile(
    rf"""
    (?<![A-Za-z0-9_.,])                                  # H2O and x1 hold no number
    (?P<sign>[+-]?)\s*
    (?:
        (?P<power_only>10)\^\{{?(?P<bare_exponent>[+-]?\d+)\}}?
      | (?:(?P<whole>\d+)\s+)?(?P<over>{_NUMERAL})\s*/\s*(?P<under>{_NUMERAL})
      | (?P<numeral>{_NUMERAL})
        (?:[eE](?P<exponent>[+-]?\d+)|\s*[*x]\s*10\^(?P<tex_exponent>[+-]?\d+))?
    )
    (?:[\s-]*(?P<scale>hundred|thousand|million|billion|trillion|lakh|crore)s?\b|\s*(?P<short>k|mn|bn)\b|(?P<mega>(?-i:M))\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "lakh": 1e5, "crore": 1e7}
_SCALES |= {"k": 1e3, "mn": 1e6, "m": 1e6, "bn": 1e9}

_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_POWER_OF_TEN = re.compile("(?<=10)[⁰¹²³⁴-⁹⁺⁻]+")
_REPLACEMENTS = (
    (re.compile("[\u2010-\u2015\u2212\ufe63\uff0d]"), "-"),
    (re.compile(r"\\text(?:dollar|euro|yen|percent|degree)(?![A-Za-z])|\\[$%#&]|[$%€£¥₹]"), " "),  # units
    (re.compile(r"(?<=\d)(?:\{,\}|,?\\[,;:! ]|[\u00a0\u2009\u202f'\u2019_~ ])(?=\d{3}(?:\D|$))"), ","),
    (re.compile(r"(?<=10)\^\{\s*([+-]?\d+)\s*\}|(?<=10)\*\*([+-]?\d+)"), r"^\1\2"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])|\u00d7|\u00b7"), "*"),
    (re.compile(r"\\[dtc]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r" \1/\2 "),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)"), r" \1/\2 "),
    (re.compile(r"\\(?:SI|qty)\s*\{([^{}]*)\}\s*\{[^{}]*\}"), r" \1 "),
    (re.compile(r"\\(?:text)?color\s*\{[^{}]*\}|\\[{}]|\\\\\s*$"), " "),
    (
        re.compile(
            r"\\(?:text(?:bf|it|rm|tt|sf)?|math(?:rm|bf|it|bb|sf|cal)|mbox|operatorname|boxed|bold|boldsymbol|underline"
            r"|emph|num)\*?\s*(?=\{)"
        ),
        " ",
    ),
    (
        re.compile(
            r"\\(?:left|right|displaystyle|q?quad|approx|sim|euro|pounds|degree|circ|[lc]?dots|bf|rm|it"
            r"|(?:normal|foot)size|small|[lL]arge|LARGE|[hH]uge)(?![A-Za-z])|\\[,;:! ]|[~≈°…]"
        ),
        " ",
    ),
    (
        re.compile(r"(?:(?<=[A-Za-z])|(?<=[A-Za-z]\}))\s*(?:[\^_]\s*(?:\{[^{}]*\}|\*|[A-Za-z0-9]+)|[²³])"),
        " ",
    ),  # m^2, x_1
    (re.compile(r"[{}]"), " "),
    (re.compile(r"\b(?:minus|negative)\s+(?=[\d.(])", re.IGNORECASE), "-"),
    (re.compile(r"([+-])\s*\(\s*(?=[\d.])"), r"\1"),  # -(42)
)
_EQUAL_SIGN = re.compile(r"(?<![<>!])=|\\(?:approx|simeq|cong)(?![A-Za-z])|[≈≅]")
_SEVERAL = re.compile(r",\s|,(?=[A-Za-z\\])|;|\n|\\\\|\band\b|&")
_RESULT_AND_NAME = re.compile(
    rf"(?:^|:)\s*[+-]?\s*{_NUMERAL}\s+(?:[A-Za-z]\w{{0,3}}\s*$|.*\b(?:at|when|with|for|where|if|given|using|by)\b)"
)
"""A side of an equation that states a result and then names something else: `42 when x` of `42 when x = 3`."""
_UNREADABLE = re.compile(
    r"[\\<>≤≥≠±∓√∛∑∏]|[+-]\s*[+-]|[*/]\s*$|\d\s*\*?\s*[xyz](?!\s*\d|[A-Za-z])"
    r"|\b(?:sqrt|cbrt|log|ln|exp|abs|ceil|floor|round)\s*\("
)
_ORNAMENTS = " \t\n_*`\"'"


class WrittenNumber(NamedTuple):
    """A number in a text."""

    value: float
    start: int
    """Offset in the text without typesetting, characters; of its sign, where it has one."""
    end: int


def plain_number(text: str) -> float | None:
    """Returns the number when `text` is nothing but one plain number ("1234", "-0.5", "1e12"), else None."""
    return _finite(text) if _PLAIN.fullmatch(text) else None


def stated_number(text: str) -> float | None:
    r"""Returns the one number that `text` states, or None when it states none or several.

    "$1,234.50", "15 dollars in total", "Z = 25", "-\frac{3}{4}", "1.2 \times 10^{6}" and "2.5 million" state one. A
    percent sign is read as a unit: "12.5%" is 12.5.
    """
    side = _right_hand_side(text.strip(_ORNAMENTS))
    if side is None or _UNREADABLE.search(side) or any(_is_half_a_numeral(character) for character in side):
        return None
    tokens = list(_TOKEN.finditer(side))
    digits_used = sum(character.isdigit() for token in tokens for character in token[0])
    if len(tokens) != 1 or digits_used != sum(character.isdigit() for character in _without_names(side)):
        return None
    return _value(tokens[0])


def written_numbers(text: str) -> tuple[str, list[WrittenNumber]]:
    """Returns a text without its typesetting, and the numbers that stand in it, read as `stated_number` reads one."""
    plain = _without_typesetting(text)
    values = ((_value(token), token) for token in _TOKEN.finditer(plain))
    return plain, [WrittenNumber(value, *token.span()) for value, token in values if value is not None]


def _right_hand_side(text: str) -> str | None:
    """Returns what follows the last equals sign of one chain of equations, without typesetting; None for several."""
    sides = _EQUAL_SIGN.split(text)
    if any(_SEVERAL.search(side) for side in sides[1:-1]):
        return None
    plain = [_without_typesetting(side) for side in sides]
    if any(_RESULT_AND_NAME.search(side) for side in plain[:-1]):
        return None
    if len(plain) > 1 and any(side.count("(") != side.count(")") for side in plain):
        return None  # the equation stands in parentheses, beside what is stated
    return plain[-1]


def _without_typesetting(text: str) -> str:
    """Removes typesetting, currencies and exponents of units, so that numerals and words are left."""
    text = _POWER_OF_TEN.sub(lambda raised: "^" + raised[0].translate(_RAISED), text)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    return text


def _is_half_a_numeral(character: str) -> bool:
    """Says whether a character changes a number without being a digit of it: a fraction or a raised digit."""
    return character.isnumeric() and not character.isdecimal()


def _without_names(text: str) -> str:
    """Drops words that hold digits (CO2, x1), because those are names."""
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
    scale = part["scale"] or part["short"] or part["mega"]
    result = sign * size * (_SCALES[scale.lower()] if scale else 1.0)
    return result if math.isfinite(result) else None


def _finite(text: str) -> float | None:
    number = float(text.replace(",", ""))
    return number if math.isfinite(number) else None
