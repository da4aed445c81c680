"""Rules for wrong answers: triggers 5 (flawed reasoning or modeling) and 6 (implementation error).

Both count only where the answer is wrong (paper appendix D). The solved models are compared with the reference
formulation where a problem has one; otherwise the words of the problem are all there is to go by. Whether a
difference is a flaw of the model or of its implementation depends on what the text says: if the text has it right,
the code is at fault.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from calmstorm.intervener.comparison import Difference, compare_models, minimizes_negative
from calmstorm.intervener.direction import wanted_sense
from calmstorm.intervener.findings import Finding
from calmstorm.intervener.hints import Correction
from calmstorm.intervener.segments import Line, Segment, lines
from calmstorm.records import Domain, Formulation, LinearModel, Problem, Row, Sense, SpanKind, Trigger

DOMAIN_WORDS = {Domain.INTEGER: "whole numbers", Domain.CONTINUOUS: "continuous", Domain.BINARY: "binary"}
_DOMAIN_CUES = {
    Domain.INTEGER: re.compile(
        r"\bwhole\b|\bintegers?\b|\bintegral\b|\bcannot be split\b|\bfull units\b|\bhow many\b", re.IGNORECASE
    ),
    Domain.BINARY: re.compile(
        r"\bbinary\b|\byes or no\b|\b0 or 1\b|\btaken or left\b|\beither\b|\bonce or not\b|\bonly one of each\b",
        re.IGNORECASE,
    ),
    Domain.CONTINUOUS: re.compile(r"\bcontinuous\b|\bfractional\b|\bany fraction\b|\breal numbers?\b", re.IGNORECASE),
}
_DOMAIN_LINE = re.compile(r"\b(?:variables?|choices|cells|quantities|x)\b.*\b(?:are|is|must be)\b", re.IGNORECASE)
_OBJECTIVE_LINE = re.compile(
    r"^\W*(?:(?:the )?(?:objective|goal)(?: function)?(?: is)?(?: to)?\W*)?(maximi[sz]e|minimi[sz]e)\b", re.IGNORECASE
)
_RELATION = re.compile(
    r"<=|>=|==|\u2264|\u2265|\\leq?\b|\\geq?\b|(?<![<>=])=(?!=)"
    r"|\b(?:at most|no more than|cannot exceed|up to|at least|no less than)\b",
    re.IGNORECASE,
)
_OPERATORS = {
    **dict.fromkeys(("<=", "\u2264", "\\le", "\\leq", "at most", "no more than", "cannot exceed", "up to"), "<="),
    **dict.fromkeys((">=", "\u2265", "\\ge", "\\geq", "at least", "no less than"), ">="),
    **dict.fromkeys(("=", "=="), "=="),
}
_ERROR = re.compile(r"^\w*(?:Error|Exception)\b", re.MULTILINE)


def modeling_flaw(problem: Problem, parts: list[Segment], formulations: Sequence[Formulation]) -> Finding | None:
    """Returns the first reason for a wrong answer, as far as rules can find one.

    Args:
        problem: With a reference where there is one.
        parts: The response.
        formulations: Models that the response's scripts solved, in order.
    """
    plan = _plan(parts)
    solved = formulations[-1] if formulations else None
    if solved is None:
        return _failed_code(parts)
    if problem.reference is not None and not solved.truncated:
        difference = compare_models(problem.reference, solved)
        if difference:
            return _explain(problem.reference, difference, plan, parts)
        return None
    return _from_words(problem, solved, plan, parts)


def _failed_code(parts: list[Segment]) -> Finding | None:
    """Without a solve: the last script, where it failed; a name from an earlier block is trigger 2."""
    outputs = [i for i, p in enumerate(parts) if p.kind is SpanKind.OUTPUT]
    blocks = [p for p in parts[: outputs[-1]] if p.kind is SpanKind.CODE] if outputs else []
    error = _ERROR.search(parts[outputs[-1]].body) if blocks else None
    if error is None or (error.group() == "NameError" and len(blocks) > 1):
        return None
    block = blocks[-1]
    return Finding(
        Trigger.IMPLEMENTATION_ERROR,
        block.start,
        parts[-1].end,
        "The code fails, so nothing is solved.",
        Correction.CODE,
    )


def reread(parts: list[Segment]) -> Finding:
    """The last resort for a wrong answer: nothing particular was found, so the model is set up again."""
    plan = _plan(parts)
    start = plan[0].start if plan else parts[0].start
    return Finding(
        Trigger.FLAWED_MODELING,
        start,
        parts[-1].end,
        "The answer is wrong; the model does not say what the problem says.",
        Correction.REREAD,
    )


def _plan(parts: list[Segment]) -> list[Line]:
    """Returns the lines of the model as text: what stands before the first code block and states something."""
    code = next((p.start for p in parts if p.kind is SpanKind.CODE), parts[-1].end)
    prose = [
        line for p in parts if p.kind is SpanKind.TEXT and p.start < code for line in lines(p) if line.start < code
    ]
    return [line for line in prose if _states_something(line.text)]


def _direction(line: Line) -> Sense | None:
    """Which way an objective line goes."""
    match = _OBJECTIVE_LINE.search(line.text)
    if match is None:
        return None
    return Sense.MAXIMIZE if match.group(1).lower().startswith("max") else Sense.MINIMIZE


def _states_something(text: str) -> bool:
    if _OBJECTIVE_LINE.search(text) or (
        _DOMAIN_LINE.search(text) and any(cue.search(text) for cue in _DOMAIN_CUES.values())
    ):
        return True
    return re.search(r"\d", text) is not None and (_RELATION.search(text) is not None or ":" in text)


def _explain(reference: LinearModel, difference: Difference, plan: list[Line], parts: list[Segment]) -> Finding:
    """Turns a difference into a finding: of the text where the text shares it, else of the code."""
    end = parts[-1].end
    names = {
        "direction": reference.sense.value,
        "objective": reference.objective,
        "domain": DOMAIN_WORDS[reference.domains[-1]],
    }
    found: list[Finding] = []
    objective = next((line for line in plan if _OBJECTIVE_LINE.search(line.text)), None)
    if difference.sense and objective is not None and _direction(objective) is not reference.sense:
        found.append(
            Finding(
                Trigger.FLAWED_MODELING,
                objective.start,
                end,
                f"The task is to {reference.sense.value}.",
                Correction.SENSE,
                names,
            )
        )
    if difference.objective and objective is not None and not _holds(objective.text, reference.costs):
        found.append(
            Finding(
                Trigger.FLAWED_MODELING,
                objective.start,
                end,
                "The objective does not have the coefficients of the problem.",
                Correction.OBJECTIVE,
                names,
            )
        )
    domain = next((line for line in plan if _DOMAIN_LINE.search(line.text)), None)
    if difference.domain and domain is not None and not _DOMAIN_CUES[reference.domains[-1]].search(domain.text):
        found.append(
            Finding(
                Trigger.FLAWED_MODELING,
                domain.start,
                end,
                f"The variables are {names['domain']}.",
                Correction.DOMAIN,
                names,
            )
        )
    for row in _named_once(difference.rows):
        finding = _row_in_text(row, plan, domain, parts, names)
        if finding is not None:
            found.append(finding)
    if found:
        return min(found, key=lambda f: f.start)
    return _code_finding(difference, parts, names)


def _row_in_text(
    row: Row, plan: list[Line], domain: Line | None, parts: list[Segment], names: dict[str, str]
) -> Finding | None:
    """Finds a constraint that the text lacks or has wrong; None when the text has it right."""
    label = row.group or row.name
    named = {**names, "row": label}
    end = parts[-1].end
    line = next(
        (
            x
            for x in plan
            if re.match(rf"\W*{re.escape(label)}\b", x.text, re.IGNORECASE) and not _OBJECTIVE_LINE.search(x.text)
        ),
        None,
    )
    if line is None:
        if domain is not None:
            position = domain.start
        elif plan:
            position = plan[-1].end
        else:
            return None
        return Finding(
            Trigger.FLAWED_MODELING,
            position,
            end,
            f"The constraint on {label} is missing.",
            Correction.MISSING_ROW,
            named,
        )
    if not _states(line.text, label, row):
        return Finding(
            Trigger.FLAWED_MODELING,
            line.start,
            end,
            f"The constraint on {label} is not what the problem says.",
            Correction.ROW,
            named,
        )
    return None


def _states(text: str, label: str, row: Row) -> bool:
    """Whether a line of text states a constraint; of a group of constraints only the direction is looked at."""
    statement = text[text.lower().find(label.lower()) + len(label) :]
    relation = _RELATION.search(statement)
    if relation is None or _OPERATORS[relation.group().lower()] != row.operator:
        return False
    if row.group:
        return True
    return _holds(statement, row.coefficients) and _bounds(statement[relation.end() :], row.bound)


def _bounds(text: str, bound: float) -> bool:
    """Whether a right-hand side says a number: as it stands, or as a product ("20*50")."""
    if bound == 0:
        return True  # its terms may stand on either side
    numbers = _numbers(text)
    return any(abs(n - abs(bound)) < 1e-6 for n in (*numbers, math.prod(numbers)))


def _code_finding(difference: Difference, parts: list[Segment], names: dict[str, str]) -> Finding:
    """A difference that the text does not share: the code is at fault."""
    blocks = [p for p in parts if p.kind is SpanKind.CODE]
    block = next((p for p in blocks if p.solves), blocks[0] if blocks else parts[0])
    if difference.sense:
        correction, what = Correction.CODE_SENSE, "optimizes in the wrong direction"
    elif difference.domain:
        correction, what = Correction.CODE_DOMAIN, "declares the wrong kind of variables"
    elif difference.rows:
        correction, what = (
            Correction.CODE_ROW,
            f"does not have the constraint on {difference.rows[0].group or difference.rows[0].name} as modeled",
        )
        names = {**names, "row": difference.rows[0].group or difference.rows[0].name}
    elif difference.sign:
        correction, what = Correction.CODE, "lets a variable go below zero"
    else:
        correction, what = Correction.CODE, "differs from the model"
    return Finding(Trigger.IMPLEMENTATION_ERROR, block.start, parts[-1].end, f"The code {what}.", correction, names)


def _from_words(problem: Problem, solved: Formulation, plan: list[Line], parts: list[Segment]) -> Finding | None:
    """Without a reference: what the words of the problem say about direction and kind of variables."""
    end = parts[-1].end
    position = plan[0].start if plan else parts[0].start
    sense = wanted_sense(problem.question)
    if sense is not None and sense is not solved.sense and not minimizes_negative(solved):
        line = next((x for x in plan if _OBJECTIVE_LINE.search(x.text)), None)
        names = {"direction": sense.value, "objective": "objective"}
        return Finding(
            Trigger.FLAWED_MODELING,
            line.start if line else position,
            end,
            f"The task is to {sense.value}.",
            Correction.SENSE,
            names,
        )
    fractional = any(v.value is not None and abs(v.value - round(v.value)) > 1e-6 for v in solved.variables)
    if fractional and _DOMAIN_CUES[Domain.INTEGER].search(problem.question):
        line = next((x for x in plan if _DOMAIN_LINE.search(x.text)), None)
        names = {"domain": DOMAIN_WORDS[Domain.INTEGER]}
        return Finding(
            Trigger.FLAWED_MODELING,
            line.start if line else position,
            end,
            "A fractional solution where whole numbers are meant.",
            Correction.DOMAIN,
            names,
        )
    return None


def _holds(text: str, coefficients: Sequence[float]) -> bool:
    """Whether every coefficient other than 0, 1 and -1 stands in the text."""
    numbers = _numbers(text)
    for value in coefficients:
        size = abs(value)
        if size in (0.0, 1.0):
            continue
        match = next((n for n in numbers if abs(n - size) < 1e-6), None)
        if match is None:
            return False
        numbers.remove(match)
    return True


def _numbers(text: str) -> list[float]:
    return [float(n.replace(",", "")) for n in re.findall(r"\d+(?:,\d{3})*(?:\.\d+)?", text)]


def _named_once(rows: Sequence[Row]) -> list[Row]:
    """One row of each group."""
    seen: set[str] = set()
    return [r for r in rows if (r.group or r.name) not in seen and not seen.add(r.group or r.name)]  # type: ignore[func-returns-value]
