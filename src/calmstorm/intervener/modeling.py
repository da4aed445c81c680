"""Rules for wrong answers: triggers 5 (flawed reasoning or modeling) and 6 (implementation error).

Both count only where the answer is wrong (paper appendix D). The solved models are compared with the reference
formulation where a problem has one; otherwise the words of the problem are all there is to go by. Whether a
difference is a flaw of the model or of its implementation depends on what the text says: if the text has it right,
the code is at fault.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from calmstorm.intervener.comparison import Difference, compare_models, minimizes_negative
from calmstorm.intervener.direction import wanted_sense
from calmstorm.intervener.fidelity import unfaithful
from calmstorm.intervener.findings import Finding
from calmstorm.intervener.hints import Correction
from calmstorm.intervener.segments import Line, Segment, lines
from calmstorm.intervener.statements import RELATION, states_row, states_terms
from calmstorm.records import Domain, Formulation, LinearModel, Problem, ReferenceConstraint, Sense, SpanKind, Trigger

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
        failed = _failed_code(parts)
        if failed is None and problem.reference is None:
            return unfaithful(parts)
        return failed and (_in_plain_text(problem.reference, plan, parts[-1].end) or failed)
    if problem.reference is not None and not solved.truncated:
        difference = compare_models(problem.reference, solved)
        if difference:
            return _explain(problem.reference, difference, plan, parts)
        return None
    return _from_words(problem, solved, plan, parts)


def _in_plain_text(reference: LinearModel | None, plan: list[Line], end: int) -> Finding | None:
    """Without a solve: what the text has wrong, as far as it uses the labels of the reference."""
    if reference is None:
        return None
    rows = tuple(r for r in reference.rows if _row_line(r.group or r.name, plan) is not None)
    suspected = Difference(sense=True, domain=True, objective=True, rows=reference.rows if rows else ())
    return _in_text(reference, suspected, plan, end)


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
    return re.search(r"\d", text) is not None and (RELATION.search(text) is not None or ":" in text)


def _explain(reference: LinearModel, difference: Difference, plan: list[Line], parts: list[Segment]) -> Finding:
    """Turns a difference into a finding: of the text where the text shares it, else of the code."""
    found = _in_text(reference, difference, plan, parts[-1].end)
    return found or _code_finding(difference, parts, _names(reference))


def _in_text(reference: LinearModel, difference: Difference, plan: list[Line], end: int) -> Finding | None:
    """Returns the first line of the text that shares a difference."""
    names = _names(reference)
    found: list[Finding] = []

    def add(start: int, analysis: str, correction: Correction, **more: str) -> None:
        found.append(Finding(Trigger.FLAWED_MODELING, start, end, analysis, correction, {**names, **more}))

    objective = next((line for line in plan if _OBJECTIVE_LINE.search(line.text)), None)
    if objective is not None and difference.sense and _direction(objective) is not reference.sense:
        add(objective.start, f"The task is to {reference.sense.value}.", Correction.SENSE)
    if objective is not None and difference.objective and not _states_costs(objective, reference):
        add(objective.start, "The objective does not have the coefficients of the problem.", Correction.OBJECTIVE)
    domain = next((line for line in plan if _DOMAIN_LINE.search(line.text)), None)
    if domain is not None and difference.domain and not _DOMAIN_CUES[reference.domains[-1]].search(domain.text):
        add(domain.start, f"The variables are {names['domain']}.", Correction.DOMAIN)
    for row in _named_once(difference.rows):
        label = row.group or row.name
        line = _row_line(label, plan)
        if line is None and plan:
            position = domain.start if domain is not None else plan[-1].end
            add(position, f"The constraint on {label} is missing.", Correction.MISSING_ROW, row=label)
        elif line is not None and not states_row(_after(label, line), row, reference.variables):
            why = f"The constraint on {label} is not what the problem says."
            add(line.start, why, Correction.ROW, row=label)
    return min(found, key=lambda f: f.start) if found else None


def _names(reference: LinearModel) -> dict[str, str]:
    """Words for hints."""
    return {
        "direction": reference.sense.value,
        "objective": reference.objective,
        "domain": DOMAIN_WORDS[reference.domains[-1]],
    }


def _states_costs(objective: Line, reference: LinearModel) -> bool:
    statement = objective.text.partition(":")[2] or objective.text
    if not re.search(r"\d", statement):
        return True  # it points to a table
    return states_terms(statement, reference.costs, reference.variables)


def _row_line(label: str, plan: list[Line]) -> Line | None:
    """Returns the line of the text that a constraint's label begins."""
    start = re.compile(rf"\W*{re.escape(label)}(?!\w)", re.IGNORECASE)
    return next((x for x in plan if start.match(x.text) and not _OBJECTIVE_LINE.search(x.text)), None)


def _after(label: str, line: Line) -> str:
    return line.text[line.text.lower().find(label.lower()) + len(label) :]


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


def _named_once(rows: Sequence[ReferenceConstraint]) -> list[ReferenceConstraint]:
    """One row of each group."""
    seen: set[str] = set()
    return [r for r in rows if (r.group or r.name) not in seen and not seen.add(r.group or r.name)]  # type: ignore[func-returns-value]
