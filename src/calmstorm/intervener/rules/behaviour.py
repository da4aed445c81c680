"""Rules for flaws of working habits: triggers 1 to 4 and 7 (paper appendix D).

Each rule is a function from a response to its first finding of that kind, or None. The cues are words that people and
models use for these habits; a sentence that turns away from the habit ("instead of trying by hand") is no cue.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from calmstorm.grading import extract_answer
from calmstorm.intervener.hints import Correction
from calmstorm.intervener.rules.findings import Finding
from calmstorm.intervener.rules.text_claims import numbers_in
from calmstorm.intervener.segments import Line, Segment, lines, of_kind, prose_before
from calmstorm.records import SpanKind, Trigger
from calmstorm.records.execution import agrees

_BY_HAND = (
    r"\bby hand\b|\bmanually\b|\bwithout (?:the|a) solver\b|\bmanual\b(?! (?:labou?r|work|workers?|tasks?|assembly))"
)
_MANUAL = re.compile(  # "let me try to write the model" is no trial, "I guess that they mean" no guess at a plan
    rf"{_BY_HAND}|\btry plan\b|\btrial and error\b|\bby inspection\b|\boverkill\b"
    r"|\bno (?:code|solver|program|script) (?:is|would be) (?:needed|required|necessary)\b"
    r"|\b(?:let me|let's|i can|i(?:'ll| will)) (?:just )?(?:guess|estimate"
    r"|enumerate (?!(?:all )?(?:the )?(?:constraint|variable|decision|data|parameter|cost))"
    r"|try (?:(?:out )?(?:some|a few|all|them|these|those|different|various|several|each|every|values|combinations)\b"
    r"(?! (?:solver|approach|formulation|model|constraint|script))"
    r"|to (?:guess|enumerate|improve)\b|\w+ ?= ?\d|\d))"
    r"|\bguess(?:ing)? (?:a|the|some) (?:plan|solution|value|number|answer|optimum|combination|mix)"
    r"|\bgreedy\b|\bcorner points?\b|\bvertices of the (?:feasible|region|poly)|\bwithout (?:any )?code\b",
    re.IGNORECASE,
)
_RECHECK = re.compile(
    rf"{_BY_HAND}|"
    r"\bre-?(?:comput(?:e|ing)|calculat(?:e|ing)|do|verify(?:ing)?)\b|\bevery product\b|\bstep by step\b.*\bsum\b"
    r"|\bverify (?:this|the) (?:sum|total|arithmetic|calculation)"
    r"|\bdouble-?check (?:the )?(?:arithmetic|calculation|sum|total)|\banother way\b"
    r"|\bis there (?:an?|any)\b[^.?]*\b(?:lower|higher|better|cheaper)\b|\btry to (?:find|beat)\b",
    re.IGNORECASE,
)
_TURNED_AWAY = re.compile(
    r"\bnot\b|n't\b|\berror[- ]prone\b|\binstead of\b|\brather than\b|\bno need\b|\bno reason\b|\bcould miss\b|\bstop\b"
    r"|\bunnecessary\b|\badds nothing\b|\bonly invites\b|\bneedless\b|\bwithout redoing\b",
    re.IGNORECASE,
)
_REFLECTION = re.compile(
    r"\bcheck(?:s|ed|ing)?\b|\bplausib|\breasonab|\bsensib|\bmakes? sense\b|\bsanity\b|\bverif|\bsatisf|\brespects?\b"
    r"|\brealistic\b|\bconsistent\b|\blooks right\b|\bfeasib|\bwithin (?:the\b|\d)|\bas (?:\w+ )?expected\b"
    r"|\bexpected (?:range|order|magnitude)\b"
    r"|\bstays? (?:well )?(?:under|below|within)\b|\bwrong\b|\bmistake\b|\bmissed\b|\bconfiden"
    r"|\bbeliev|\bcredib|\bconvinc|\blogical\b|\bsurpris|\bexplains?\b|\bvalid\b|\bin line with\b"
    r"|\bas (?:it|one|they) (?:should|must|would)\b|\b(?:would|i'd|what i) expect\b"
    r"|\b(?:less|more|lower|higher|cheaper|dearer|shorter|longer|smaller|larger|better|worse|fewer) than\b"
    r"|\bbounds?\b|\bbind(?:s|ing)?\b|\btight\b|\bslack\b|\bsurplus\b|\bused up\b|\blimits? holds?\b|\bcould never\b"
    r"|\b(?:lies|is|are) between\b|\bat (?:its|their) (?:limit|ceiling|cap)\b"
    r"|\d\s*(?:[<>]=?|\u2264|\u2265)\s*\d|\d (?:of|against) \d",
    re.IGNORECASE,
)
_AMOUNT = r"(?<![A-Za-z_\d.])\(?\$?\d[\d,]*(?:\.\d+)?\)?(?![A-Za-z_\d])"
_OPERATION = r"(?:[*\u00d7+]|x|times|plus|\\times|\\cdot)"
_ARITHMETIC = re.compile(  # numbers only: "3*x1 + 2*x2 = 7" is a constraint, not a calculation
    rf"{_AMOUNT}\s*{_OPERATION}\s*{_AMOUNT}"
    rf"(?:[^=<>\u2264\u2265\n]{{0,60}}=|(?:\s*{_OPERATION}\s*{_AMOUNT}){{0,4}},?\s+(?:is|makes|gives|equals))"
    rf"\s*({_AMOUNT})(?!\s*\*)",
    re.IGNORECASE,
)
_AGAINST_LIMIT = re.compile(
    r"<|>|\u2264|\u2265|\\[lg]eq?\b|\bwithin\b|\bunder\b|\bbelow\b|\blimit|\bavailable\b|\bat (?:most|least)\b"
    r"|\bcapacity\b|\brequire|\bconstraint",
    re.IGNORECASE,
)
"""A sum that is held against a limit checks feasibility, which is reflection and not trigger 3 (paper table 3)."""
_BY_PROGRAM = re.compile(
    r"\b(?:code|script|program|block)\b|\b(?:with|in|using|by) (?:the |a )?(?:solver|pulp|scipy|python)\b",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_HAND = re.compile(_BY_HAND, re.IGNORECASE)
_FAILED = re.compile(r"\b\w*Error\b")
_FINAL = re.compile(
    r"\\boxed|\banswer is\b|\bbest value is\b|\b(?:maximum|minimum|optimal|total)\b[^.\n]{0,40}\bis\b", re.IGNORECASE
)
_FURTHER_BLOCK = re.compile(
    r"\b(?:another|second|next|separate|further|small) (?:run|script|block|program|solve|piece of code|code block)\b",
    re.IGNORECASE,
)
"""Announces one more script for the same task; one that puts an earlier one right is announced by what was wrong."""
_NAME_ERROR = re.compile(r"\bNameError\b")
_STATEMENT = re.compile(r"[<>=]|\d|\b(?:variables|choices|cells) are\b")
"""Part of the model, and no lead to a script."""


_ITERATES = re.compile(r"\b(?:for|while|def)\b")
"""An algorithm of the script's own may solve without a solver's call."""
_FORM = re.compile(
    r"\$*\\boxed\{(?:[^{}]|\{[^{}]*\})*\}\$*|</?think>|^#.*$|^\W*final answer\W*$", re.MULTILINE | re.IGNORECASE
)
"""What belongs to the form of a final answer."""
_JUDGES = re.compile(
    r"\b(?:because|since|as|than|so|only|every|each|both|exactly|fully|uses?|leaves?|left|remain\w*|still|just|enough|not?"
    r"|agrees?|match\w*|equals?|fine|good|ok(?:ay)?|right|correct|seems?|looks?|must|should|would|could|if|but|indeed)\b",
    re.IGNORECASE,
)
"""Words with which a sentence may judge a result; without any of them it repeats the result."""
SHORTEST_JUDGEMENT = 5
"""Words of a sentence that says more than "plausible"."""
_STATUS_ONLY = re.compile(r"\b(?:solver|status|output|code|script)\b", re.IGNORECASE)


class _Sum(NamedTuple):
    """A calculation with numbers in prose."""

    line: Line
    result: float


def _sums(part: Segment) -> list[_Sum]:
    return [
        _Sum(line, float(re.sub(r"[^\d.]", "", match.group(1))))
        for line in lines(part)
        for match in _ARITHMETIC.finditer(line.text)
    ]


def _arrives_at(calculation: _Sum, answer: float | str | None) -> bool:
    """Whether a calculation ends at the final answer: then the words have solved the problem, or solved it again."""
    return isinstance(answer, float) and abs(calculation.result - answer) <= 1e-6 * max(1.0, abs(answer))


def _comes_to(prose: list[Segment], start: int, answer: float | str | None) -> bool:
    """Whether the words from an offset on calculate the final answer: they name it, and other numbers with it."""
    if not isinstance(answer, float):
        return False
    rest = " ".join(part.body[max(0, start - part.body_start) :] for part in prose if part.end > start)
    numbers = numbers_in(_FORM.sub(" ", rest))
    return len(numbers) >= 3 and any(agrees(number, abs(answer)) for number in numbers)


def _only_repeats(prose: str, outputs: list[Segment]) -> bool:
    """Whether the words after an output say nothing that is not in it: no judgement, and no number of their own."""
    words = _FORM.sub(" ", prose)
    printed = numbers_in(" ".join(output.body for output in outputs))
    return _JUDGES.search(words) is None and all(
        any(agrees(number, one) for one in printed) for number in numbers_in(words)
    )


def reflects(parts: list[Segment]) -> bool:
    """Whether a sentence after the last output judges the result; repeating that the solver succeeded does not."""
    outputs = of_kind(parts, SpanKind.OUTPUT)
    prose = (part for part in of_kind(parts, SpanKind.TEXT) if outputs and part.start >= outputs[-1].end)
    sentences = (sentence for part in prose for sentence in re.split(r"(?<=[.!?])\s+|\n", _FORM.sub(" ", part.body)))
    return any(
        _REFLECTION.search(sentence)
        and len(sentence.split()) >= SHORTEST_JUDGEMENT
        and not _STATUS_ONLY.search(sentence)
        for sentence in sentences
    )


def passing_sums(parts: list[Segment]) -> list[Line]:
    """Returns lines that calculate with numbers, outside of what is held against a limit: work by hand, or nearly."""
    prose = of_kind(parts, SpanKind.TEXT)
    return [total.line for part in prose for total in _sums(part) if not _AGAINST_LIMIT.search(total.line.text)]


def premature_solving(parts: list[Segment], answer: float | str | None = None) -> Finding | None:
    """Trigger 1: solving in words what a solver should solve; `answer` is the final one."""
    limit = next((part.start for part in parts if part.solves and not _failed(parts, part)), parts[-1].end)
    prose = [part for part in of_kind(parts, SpanKind.TEXT) if part.start < limit]
    line = next((line for part in prose if (line := _solved_by_hand(part, answer))), None)
    if line is None and not of_kind(parts, SpanKind.CODE):
        line = _final_line(parts)
    if line is None:
        return None
    analysis = "The model is solved in words although a solver is at hand."
    sure = not of_kind(parts, SpanKind.CODE) or _comes_to(prose, line.start, answer)
    return Finding(Trigger.PREMATURE_SOLVING, line.start, parts[-1].end, analysis, Correction.USE_SOLVER, sure=sure)


def _solved_by_hand(part: Segment, answer: float | str | None) -> Line | None:
    """Returns the first line of a passage that solves in words."""
    for line in lines(part):
        if _MANUAL.search(line.text) and not _TURNED_AWAY.search(line.text):
            return line
    sums = _sums(part)
    return sums[0].line if len(sums) >= 3 or any(_arrives_at(total, answer) for total in sums) else None


def fragmented_coding(parts: list[Segment]) -> Finding | None:
    """Trigger 2: pieces of code that cannot run alone, or that only prepare."""
    blocks = of_kind(parts, SpanKind.CODE)
    solving = any(block.solves for block in blocks)
    for index, block in enumerate(blocks):
        output = _output_after(parts, block)
        depends = output is not None and _NAME_ERROR.search(output.body) is not None and index > 0
        prepares = (
            not block.solves
            and re.search(r"\bimport\b|=", block.body) is not None
            and ((index + 1 < len(blocks) and index == 0) or (index > 0 and solving))
        )
        again = block.solves and index > 0 and _FURTHER_BLOCK.search(_between(parts, blocks[index - 1], block))
        if prepares or depends or again:
            analysis = "The code comes in pieces; each block runs on its own, so it must be complete."
            start = _lead(parts, block)
            sure = depends or (index == 0 and solving and _ITERATES.search(block.body) is None)
            return Finding(Trigger.FRAGMENTED_CODING, start, block.end, analysis, Correction.ONE_SCRIPT, sure=sure)
    return None


def redundant_verification(parts: list[Segment], answer: float | str | None = None) -> Finding | None:
    """Trigger 3: computing again by hand what the solver has computed; `answer` is the final one."""
    outputs = [part for part in of_kind(parts, SpanKind.OUTPUT) if not _FAILED.search(part.body)]
    for part in of_kind(parts, SpanKind.TEXT):
        if outputs and part.start > outputs[0].start and (line := _verified_by_hand(part, answer)):
            analysis = "The solver's exact result is computed again by hand."
            printed = numbers_in(outputs[-1].body)
            sure = any(_comes_to([part], line.start, value) for value in ([answer] if answer is not None else printed))
            return Finding(Trigger.REDUNDANT_VERIFICATION, line.start, part.end, analysis, Correction.TRUST, sure=sure)
    return None


def _verified_by_hand(part: Segment, answer: float | str | None) -> Line | None:
    """Returns the first line of a passage that computes the result again."""
    for line in lines(part):
        if _is_recheck(line.text):
            return line
    sums = _sums(part)
    free = [total.line for total in sums if not _AGAINST_LIMIT.search(total.line.text)]
    if len(free) >= 2:
        return free[0]
    return next((total.line for total in sums if _arrives_at(total, answer)), None)


def _is_recheck(text: str) -> bool:
    if _TURNED_AWAY.search(text):
        return False
    cues = [sentence for sentence in _SENTENCE_END.split(text) if _RECHECK.search(sentence)]
    return any(_HAND.search(cue) or not _BY_PROGRAM.search(cue) for cue in cues)


def no_sanity_check(parts: list[Segment]) -> Finding | None:
    """Trigger 4: from the solver's output straight to the final answer."""
    outputs = of_kind(parts, SpanKind.OUTPUT)
    if not outputs or _FAILED.search(outputs[-1].body):
        return None
    start = outputs[-1].end
    prose = "".join(part.body for part in of_kind(parts, SpanKind.TEXT) if part.start >= start)
    if not prose.strip() or _REFLECTION.search(prose):
        return None
    analysis = "The result is given without a look at its plausibility."
    sure = _only_repeats(prose, outputs)
    return Finding(Trigger.NO_SANITY_CHECK, start, parts[-1].end, analysis, Correction.REFLECT, sure=sure)


def protocol_violation(parts: list[Segment], response: str) -> Finding | None:
    """Trigger 7: no box, or more in it than one plain number or status word."""
    if extract_answer(response).protocol_ok:
        return None
    line = _final_line(parts)
    start, end = line.start if line else parts[-1].end, parts[-1].end
    analysis = "The final answer is not a single plain number in a box."
    return Finding(Trigger.PROTOCOL_VIOLATION, start, end, analysis, Correction.BOX, sure=True)


def _between(parts: list[Segment], block: Segment, following: Segment) -> str:
    """Returns the prose between two code blocks."""
    prose = (part for part in of_kind(parts, SpanKind.TEXT) if block.end <= part.start < following.start)
    return "".join(part.body for part in prose)


def _output_after(parts: list[Segment], block: Segment) -> Segment | None:
    """Returns the output that belongs to a code block: it follows, with white space between at most."""
    later = (part for part in parts if part.start >= block.end)
    following = next((part for part in later if part.kind is not SpanKind.TEXT or part.body.strip()), None)
    return following if following is not None and following.kind is SpanKind.OUTPUT else None


def _failed(parts: list[Segment], block: Segment) -> bool:
    output = _output_after(parts, block)
    return output is not None and _FAILED.search(output.body) is not None


def _lead(parts: list[Segment], block: Segment) -> int:
    """Returns where the passage with a block begins: its lead sentence, if it has a short one, else its fence."""
    before = next((part for part in of_kind(parts, SpanKind.TEXT) if part.end == block.start), None)
    prose = lines(before) if before is not None else []
    if not prose:
        return block.start
    text = prose[-1].text
    is_lead = re.search(r"[.!:]$", text) and len(text) <= 120 and not _STATEMENT.search(text)
    return prose[-1].start if is_lead else block.start


def _final_line(parts: list[Segment]) -> Line | None:
    """Returns the line that gives the final answer, or the last line of prose."""
    prose = prose_before(parts, parts[-1].end)
    after_thinking = [i for i, line in enumerate(prose) if "</think>" in line.text]
    candidates = prose[after_thinking[-1] + 1 :] if after_thinking else prose
    final = [line for line in candidates if _FINAL.search(line.text)]
    if final:
        return final[0] if after_thinking else final[-1]
    return candidates[-1] if candidates else None
