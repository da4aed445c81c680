"""Rules for wrong answers: triggers 5 (flawed reasoning or modeling) and 6 (implementation error).

Both count only where the answer is wrong (paper appendix D). The solved models are compared with the reference
formulation where a problem has one; otherwise the words of the problem are all there is to go by. Whether a
difference is a flaw of the model or of its implementation depends on what the text says: if the text has it right,
the code is at fault.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from calmstorm.intervener.hints import DOMAIN_WORDS, Correction
from calmstorm.intervener.rules.code_vs_text import unfaithful
from calmstorm.intervener.rules.direction import wanted_sense
from calmstorm.intervener.rules.findings import Finding
from calmstorm.intervener.rules.model_diff import Difference, compare_models, minimizes_negative
from calmstorm.intervener.rules.text_claims import RELATION, numbers_in, states_row, states_terms
from calmstorm.intervener.segments import Line, Segment, of_kind, prose_before
from calmstorm.records import Domain, Formulation, LinearModel, Problem, ReferenceConstraint, Sense, SpanKind, Trigger

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
_SYMBOLS = re.compile(r"[<>]|\u2264|\u2265|\\[lg]eq?\b|^\W*(?:min|max)\b", re.IGNORECASE)
_ERROR = re.compile(r"^\w*(?:Error|Exception)\b", re.MULTILINE)


def modeling_flaw(problem: Problem, parts: list[Segment], formulations: Sequence[Formulation]) -> Finding | None:
    """Returns the first reason for a wrong answer, as far as rules can find one.

    Args:
        problem: With a reference where there is one.
        parts: The response.
        formulations: Models that the response's scripts solved, in order.
    """
    reference, plan = problem.reference, _plan(parts)
    if formulations:
        solved = formulations[-1]
        if reference is None or solved.truncated:
            return _from_words(problem, solved, plan, parts)
        difference = compare_models(reference, solved)
        return _explain(reference, difference, plan, parts) if difference else None
    failed = _failed_code(parts)
    if reference is None:
        return failed or unfaithful(parts, problem.question)
    return failed and (_in_plain_text(reference, plan, parts[-1].end) or failed)


def flaw_so_far(problem: Problem, parts: list[Segment], formulations: Sequence[Formulation]) -> Finding | None:
    """Returns what has gone wrong in a response that goes on: a solve with another result than the right one.

    Nothing is held against a solve that came to the right value, nor against a response that has not solved anything
    yet, unless its last script failed. Arguments as for `modeling_flaw`.
    """
    if _failed_code(parts) is not None and not formulations:
        return modeling_flaw(problem, parts, formulations)
    if not formulations or not isinstance(problem.answer, float | int):
        return None
    return None if formulations[-1].backs(problem.answer) else modeling_flaw(problem, parts, formulations)


def unexplained_error(parts: list[Segment], question: str) -> Finding:
    """Trigger 5 for a wrong answer without a visible reason: the model is to be set up again.

    It is sure where the text states a model, and text and code alike leave out a number that the question gives.
    """
    plan = _plan(parts)
    start = plan[0].start if plan else parts[0].start
    analysis = "The answer is wrong; the model does not say what the problem says."
    sure = states_a_model(parts) and _leaves_out_data(parts, question)
    return Finding(Trigger.FLAWED_MODELING, start, parts[-1].end, analysis, Correction.REREAD, sure=sure)


def _leaves_out_data(parts: list[Segment], question: str) -> bool:
    """Whether some number of the question is in no text and no script, nor a sum, product or percentage with it."""
    written = [part.body for part in parts if part.kind in (SpanKind.TEXT, SpanKind.CODE)]
    present = set(numbers_in(" ".join(written)))
    given = set(numbers_in(question))
    return any(not _is_used(number, given, present) for number in given if number > 1)


def _is_used(number: float, given: set[float], present: set[float]) -> bool:
    others = (given | present) - {number, 0.0}
    forms = {number, number / 100, *(number * one for one in others), *(abs(number - one) for one in others)}
    forms |= {number + one for one in others}
    return any(abs(form - one) <= 1e-9 * max(1.0, one) for form in forms for one in present - {0.0})


def states_a_model(parts: list[Segment]) -> bool:
    """Whether the text before the first code block states an objective or a constraint in symbols."""
    return any(_OBJECTIVE_LINE.search(line.text) or _SYMBOLS.search(line.text) for line in _plan(parts))


def _failed_code(parts: list[Segment]) -> Finding | None:
    """Without a solve: the last script, where it failed; a name from an earlier block is trigger 2."""
    outputs = of_kind(parts, SpanKind.OUTPUT)
    blocks = [block for block in of_kind(parts, SpanKind.CODE) if outputs and block.start < outputs[-1].start]
    error = _ERROR.search(outputs[-1].body) if blocks else None
    if error is None or (error.group() == "NameError" and len(blocks) > 1):
        return None
    analysis = "The code fails, so nothing is solved."
    sure = all(_ERROR.search(output.body) for output in outputs)
    return Finding(Trigger.IMPLEMENTATION_ERROR, blocks[-1].start, parts[-1].end, analysis, Correction.CODE, sure=sure)


# ------------------------------------------------------------------ the model as text


def _plan(parts: list[Segment]) -> list[Line]:
    """Returns the lines of the model as text: what stands before the first code block and states something."""
    code = next((block.start for block in of_kind(parts, SpanKind.CODE)), parts[-1].end)
    return [line for line in prose_before(parts, code) if _states_something(line.text)]


def _states_something(text: str) -> bool:
    if _OBJECTIVE_LINE.search(text):
        return True
    if _DOMAIN_LINE.search(text) and any(cue.search(text) for cue in _DOMAIN_CUES.values()):
        return True
    return re.search(r"\d", text) is not None and (RELATION.search(text) is not None or ":" in text)


def _first_line(plan: list[Line], cue: re.Pattern[str]) -> Line | None:
    return next((line for line in plan if cue.search(line.text)), None)


def _direction(line: Line) -> Sense | None:
    """Returns which way an objective line goes."""
    match = _OBJECTIVE_LINE.search(line.text)
    if match is None:
        return None
    return Sense.MAXIMIZE if match.group(1).lower().startswith("max") else Sense.MINIMIZE


def _states_costs(objective: Line, reference: LinearModel) -> bool:
    statement = objective.text.partition(":")[2] or objective.text
    if not re.search(r"\d", statement):
        return True  # it points to a table
    return states_terms(statement, reference.costs, reference.variables)


def _row_line(label: str, plan: list[Line]) -> Line | None:
    """Returns the line of the text that a constraint's label begins."""
    start = re.compile(rf"\W*{re.escape(label)}(?!\w)", re.IGNORECASE)
    return next((line for line in plan if start.match(line.text) and not _OBJECTIVE_LINE.search(line.text)), None)


def _after(label: str, line: Line) -> str:
    return line.text[line.text.lower().find(label.lower()) + len(label) :]


# ------------------------------------------------------------------ against a reference


def _explain(reference: LinearModel, difference: Difference, plan: list[Line], parts: list[Segment]) -> Finding:
    """Returns a difference as a finding: of the text where the text shares it, else of the code.

    It is sure where the text can be read in the reference's terms: without them a constraint seems to be missing from
    it that stands there in other words.
    """
    shared = _in_text(reference, difference, plan, parts[-1].end)
    found = shared or _in_code(difference, parts, _names(reference))
    return replace(found, sure=_is_labelled(reference, plan))


def _in_plain_text(reference: LinearModel, plan: list[Line], end: int) -> Finding | None:
    """Without a solve: what the text has wrong, as far as it uses the labels of the reference."""
    rows = reference.rows if _is_labelled(reference, plan) else ()
    return _in_text(reference, Difference(sense=True, domain=True, objective=True, rows=rows), plan, end)


def _is_labelled(reference: LinearModel, plan: list[Line]) -> bool:
    """Whether the text calls at least one constraint as the reference does."""
    return any(_row_line(row.group or row.name, plan) is not None for row in reference.rows)


def _in_text(reference: LinearModel, difference: Difference, plan: list[Line], end: int) -> Finding | None:
    """Returns the first flaw of the text that shares a difference."""
    flaws = [*_shared_differences(reference, difference, plan, end), *_shared_rows(reference, difference, plan, end)]
    return min(flaws, key=lambda flaw: flaw.start, default=None)


def _shared_differences(
    reference: LinearModel, difference: Difference, plan: list[Line], end: int
) -> Iterator[Finding]:
    """Yields where the text has direction, objective or domain wrong as the solved model has."""
    flaw = partial(Finding, Trigger.FLAWED_MODELING, end=end, names=_names(reference))
    objective, domain = _first_line(plan, _OBJECTIVE_LINE), _first_line(plan, _DOMAIN_LINE)
    if objective is not None and difference.sense and _direction(objective) is not reference.sense:
        analysis = f"The task is to {reference.sense.value}."
        yield flaw(start=objective.start, analysis=analysis, correction=Correction.SENSE)
    if objective is not None and difference.objective and not _states_costs(objective, reference):
        analysis = "The objective does not have the coefficients of the problem."
        yield flaw(start=objective.start, analysis=analysis, correction=Correction.OBJECTIVE)
    if domain is not None and difference.domain and not _DOMAIN_CUES[reference.domains[-1]].search(domain.text):
        analysis = f"The variables are {DOMAIN_WORDS[reference.domains[-1]]}."
        yield flaw(start=domain.start, analysis=analysis, correction=Correction.DOMAIN)


def _shared_rows(reference: LinearModel, difference: Difference, plan: list[Line], end: int) -> Iterator[Finding]:
    """Yields the constraints that the text, too, lacks or has wrong; one of each group."""
    if not plan:
        return
    domain = _first_line(plan, _DOMAIN_LINE)
    rows: dict[str, ReferenceConstraint] = {}
    for row in difference.rows:
        rows.setdefault(row.group or row.name, row)
    for label, row in rows.items():
        flaw = partial(Finding, Trigger.FLAWED_MODELING, end=end, names={**_names(reference), "row": label})
        line = _row_line(label, plan)
        if line is None:
            start = domain.start if domain is not None else plan[-1].end
            analysis = f"The constraint on {label} is missing."
            yield flaw(start=start, analysis=analysis, correction=Correction.MISSING_ROW)
        elif not states_row(_after(label, line), row, reference.variables):
            analysis = f"The constraint on {label} is not what the problem says."
            yield flaw(start=line.start, analysis=analysis, correction=Correction.ROW)


def _names(reference: LinearModel) -> dict[str, str]:
    """Returns words for hints."""
    return {
        "direction": reference.sense.value,
        "objective": reference.objective,
        "domain": DOMAIN_WORDS[reference.domains[-1]],
    }


def _in_code(difference: Difference, parts: list[Segment], names: dict[str, str]) -> Finding:
    """Returns a difference that the text does not share: the code is at fault."""
    blocks = of_kind(parts, SpanKind.CODE)
    block = next((block for block in blocks if block.solves), blocks[0] if blocks else parts[0])
    if difference.sense:
        correction, fault = Correction.CODE_SENSE, "optimizes in the wrong direction"
    elif difference.domain:
        correction, fault = Correction.CODE_DOMAIN, "declares the wrong kind of variables"
    elif difference.rows:
        label = difference.rows[0].group or difference.rows[0].name
        correction, fault = Correction.CODE_ROW, f"does not have the constraint on {label} as modeled"
        names = {**names, "row": label}
    elif difference.sign:
        correction, fault = Correction.CODE, "lets a variable go below zero"
    else:
        correction, fault = Correction.CODE, "differs from the model"
    return Finding(Trigger.IMPLEMENTATION_ERROR, block.start, parts[-1].end, f"The code {fault}.", correction, names)


# ------------------------------------------------------------------ without a reference


def _from_words(problem: Problem, solved: Formulation, plan: list[Line], parts: list[Segment]) -> Finding | None:
    """Returns what contradicts the words of the problem about direction and kind of variables."""
    sense = wanted_sense(problem.question)
    fractional = any(v.value is not None and abs(v.value - round(v.value)) > 1e-6 for v in solved.variables)
    if sense is not None and sense is not solved.sense and not minimizes_negative(solved):
        line, correction = _first_line(plan, _OBJECTIVE_LINE), Correction.SENSE
        analysis = f"The task is to {sense.value}."
        names = {"direction": sense.value, "objective": "objective"}
        sure = line is not None and _direction(line) is solved.sense
    elif fractional and _DOMAIN_CUES[Domain.INTEGER].search(problem.question):
        line, correction = _first_line(plan, _DOMAIN_LINE), Correction.DOMAIN
        analysis = "A fractional solution where whole numbers are meant."
        names = {"domain": DOMAIN_WORDS[Domain.INTEGER]}
        sure = False
    else:
        return None
    line = line or (plan[0] if plan else None)
    start = line.start if line else parts[0].start
    return Finding(Trigger.FLAWED_MODELING, start, parts[-1].end, analysis, correction, names, sure)
