"""Whether a script says what the response's own text says: trigger 6 where no solved model is at hand.

Responses made elsewhere come without the models that their scripts solved, and most problems without a reference
formulation. The last script is therefore compared with the text before it: direction, kind of variables, the
numbers of the constraints, and constraints between named variables. Only what the text states and the script lacks is
a finding; where the text says little, the script is taken to be right.
"""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

from calmstorm.intervener.hints import Correction
from calmstorm.intervener.rules.direction import wanted_sense
from calmstorm.intervener.rules.findings import Finding
from calmstorm.intervener.rules.text_claims import numbers_in
from calmstorm.intervener.segments import Line, Segment, prose_before
from calmstorm.records import Sense, Trigger

_MAXIMIZE = re.compile(r"\bmaximi[sz]e\b|\bmax\b|\\max\b", re.IGNORECASE)
_MINIMIZE = re.compile(r"\bminimi[sz]e\b|\bmin\b|\\min\b", re.IGNORECASE)
_CODE_MAXIMIZES = re.compile(r"LpMaximize|GRB\.MAXIMIZE|\.[mM]aximize\s*\(|\bmaximize\b|sense\s*=\s*-1")
_CODE_MINIMIZES = re.compile(r"LpMinimize|GRB\.MINIMIZE|\.[mM]inimize\s*\(|\bminimize\b")
_NEGATED = re.compile(r"=\s*-\s*\w|\(\s*-|\[\s*-\d|-\s*\(|lambda[^:]*:\s*-")
"""A script may minimize the negative of what is to be maximized."""
_DISCRETE = re.compile(
    r"\binteger|\bwhole\b|\bbinary\b|\\mathbb\{?Z|\u2124|\bin \{0, ?1\}|\\in\s*\\\{0, ?1", re.IGNORECASE
)
_NOT_DISCRETE = re.compile(
    r"\b(?:not|needn't|no need|without|relax|continuous)\b[^.\n]*\binteger|\bturns? out integ", re.IGNORECASE
)
_CODE_DISCRETE = re.compile(
    r"integ|binary|IntVar|BoolVar|\bZ\b|linear_sum_assignment|product\(|combinations", re.IGNORECASE
)
_FORMULA = re.compile(
    r"<|>|=|\u2264|\u2265|\\[lg]eq?\b|\b[A-Za-z](?:_?\d)? (?:at most|at least|up to|cannot exceed) \d"
)
"""What states a constraint in symbols; prose may quote numbers of the problem that the model does not use."""
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
_NAME_DIGITS = re.compile(r"(?<=[A-Za-z])_?\{?\d+\}?|_\{[^}]*\}")
_MOST_NUMBERS = 60
"""Numbers of a script whose products are looked at, too: each pair is one."""
_SYMBOLIC = re.compile(
    r"\b([A-Za-z]+)(?:_\{?\w+\}?|\[[\w, ]+\])\s*(?:<=|>=|\u2264|\u2265|\\leq?|\\geq?)\s*([A-Za-z]+)(?:_|\[)"
)


def unfaithful(parts: list[Segment], question: str) -> Finding | None:
    """Returns where the last solving script departs from the text before it, or None.

    It is sure where the question bears out what the text says: then the text is right, and the script is not.
    """
    block = next((part for part in reversed(parts) if part.solves), None)
    if block is None:
        return None
    text = prose_before(parts, block.start)
    code = re.sub(r"#[^\n]*", "", block.body)
    for correction, compare in (
        (Correction.CODE_SENSE, _direction),
        (Correction.CODE_DOMAIN, _domain),
        (Correction.CODE, _numbers),
        (Correction.CODE, _relations),
    ):
        if fault := compare(text, code, question):
            analysis = f"The code {fault.words}."
            end = parts[-1].end
            return Finding(
                Trigger.IMPLEMENTATION_ERROR, block.start, end, analysis, correction, _NO_NAMES, fault.is_borne_out
            )
    return None


class _Fault(NamedTuple):
    """A departure of the script from the text."""

    words: str
    is_borne_out: bool


_NO_NAMES = {"direction": "optimize", "objective": "objective", "domain": "of the kind the text says", "row": "limit"}
"""Words for hints where there is no reference to take them from."""


def _direction(text: list[Line], code: str, question: str) -> _Fault | None:
    up, down = (any(cue.search(line.text) for line in text) for cue in (_MAXIMIZE, _MINIMIZE))
    codes_up, codes_down = bool(_CODE_MAXIMIZES.search(code)), bool(_CODE_MINIMIZES.search(code))
    if up in (down, codes_up) or codes_up == codes_down or _NEGATED.search(code):
        return None
    wanted = wanted_sense(question)
    words = "optimizes in the other direction than the text"
    return _Fault(words, wanted is (Sense.MAXIMIZE if up else Sense.MINIMIZE))


def _domain(text: list[Line], code: str, question: str) -> _Fault | None:
    said = any(_DISCRETE.search(line.text) and not _NOT_DISCRETE.search(line.text) for line in text)
    if not said or _CODE_DISCRETE.search(code):
        return None
    return _Fault("lacks the integers that the text asks for", not re.search(r"\bfraction|\bcontinuous", question))


def _numbers(text: list[Line], code: str, question: str) -> _Fault | None:
    """Returns which number of the text's constraints the script lacks, where it shares most of them."""
    present = set(numbers_in(code))
    if len(present) < _MOST_NUMBERS:
        present |= {one * other for one, other in itertools.combinations(present, 2)}
    stated = [
        number
        for line in text
        for sentence in _SENTENCE_END.split(line.text)
        if _FORMULA.search(sentence)
        for number in numbers_in(_NAME_DIGITS.sub("", sentence))
        if number > 1
    ]
    lacking = [
        number
        for number in stated
        if not any(abs(value - size) <= 1e-9 * size for value in present for size in (number, number / 100))
    ]
    if not 0 < len(lacking) <= len(stated) / 2:
        return None
    return _Fault(f"has no {lacking[0]:g}, which the text has", lacking[0] in numbers_in(question))


def _relations(text: list[Line], code: str, question: str) -> _Fault | None:
    names = set(re.findall(r"[A-Za-z_]\w*", code))
    related = [line for line in code.splitlines() if re.search(r"<=|>=|==", line)]
    for line in text:
        for one, other in _SYMBOLIC.findall(line.text):
            if {one, other} <= names and not any(_names(row, one) and _names(row, other) for row in related):
                return _Fault(f"does not hold {one} against {other} as the text does", is_borne_out=False)
    return None


def _names(row: str, name: str) -> bool:
    return re.search(rf"(?<![A-Za-z]){re.escape(name)}(?![A-Za-z])", row) is not None
