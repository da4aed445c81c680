"""How sure the rules are of the first flaw of a response, or that it has none; where they are not, they abstain.

Each finding says whether there is evidence for it beyond a choice of words (`Finding.sure`). That alone does not make
it the first flaw: what may stand before it unseen is a doubt, and so is everything that a flawless response ought to
show and does not. The kinds of evidence follow from what the triggers mean, not from how often rules were right.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from calmstorm.grading import is_gradable
from calmstorm.intervener.rules.behaviour import passing_sums, reflects
from calmstorm.intervener.rules.findings import Finding
from calmstorm.intervener.rules.model import states_a_model
from calmstorm.intervener.rules.text_claims import numbers_in
from calmstorm.intervener.segments import Segment, of_kind
from calmstorm.records import Formulation, Problem, SpanKind, StopReason, Trigger, Verdict
from calmstorm.records.execution import agrees

_MODEL_FLAWS = (Trigger.FLAWED_MODELING, Trigger.IMPLEMENTATION_ERROR)


def doubt(
    problem: Problem,
    parts: list[Segment],
    findings: Sequence[Finding],
    verdict: Verdict,
    formulations: Sequence[Formulation] = (),
    stop_reason: StopReason = StopReason.FINISHED,
) -> str:
    """Returns why the first finding may not be the first flaw, or why a response may not be flawless; "" when sure.

    Args:
        problem: With its label.
        parts: The response.
        findings: What the rules found, in order.
        verdict: The grade of the response.
        formulations: Models that its scripts solved, where that is known.
        stop_reason: How the response ended.
    """
    first = findings[0] if findings else None
    if first is not None and not first.sure:
        return f"trigger {first.trigger:d} rests on words alone"
    limit = first.start if first is not None else parts[-1].end
    goes_on = stop_reason is StopReason.REVIEWED
    unseen = (reason for start, reason in _unseen(problem, parts, findings, verdict, goes_on) if start < limit)
    reason = next(unseen, "")
    if not reason and first is None and not _is_supported(parts, verdict, formulations, stop_reason):
        return "no solve that was seen to succeed supports the answer"
    return reason


def _unseen(
    problem: Problem, parts: list[Segment], findings: Sequence[Finding], verdict: Verdict, goes_on: bool
) -> Iterator[tuple[int, str]]:
    """Yields what flaws may be there unseen: the offset from which on, and why."""
    blocks, outputs = of_kind(parts, SpanKind.CODE), of_kind(parts, SpanKind.OUTPUT)
    triggers = {finding.trigger for finding in findings}
    right = verdict.correct or _is_right_without_box(verdict, outputs)
    if not goes_on and not right and not any(flaw.sure and flaw.trigger in _MODEL_FLAWS for flaw in findings):
        if not is_gradable(problem):
            yield 0, "without a label nothing tells whether the model is right"
        elif blocks or states_a_model(parts):
            yield 0, "the cause of the wrong answer is not known"
    for line in passing_sums(parts):
        yield line.start, "a calculation in words may be work by hand"
    if Trigger.FRAGMENTED_CODING not in triggers:
        for earlier, block in itertools.pairwise(blocks):
            failed = any("Error" in output.body for output in outputs if earlier.end <= output.start < block.start)
            if not failed:
                yield block.start, "a second script may be a fragment"
    checked = {Trigger.NO_SANITY_CHECK, Trigger.REDUNDANT_VERIFICATION} & triggers
    if outputs and right and not goes_on and not checked and not reflects(parts):
        yield outputs[-1].end, "a nod is hardly a check of the result"


def _is_right_without_box(verdict: Verdict, outputs: list[Segment]) -> bool:
    """Whether no answer could be read, but the last output shows the right one: then the model is not at fault."""
    if verdict.got is not None or not isinstance(verdict.expected, float) or not outputs:
        return False
    return any(agrees(number, abs(verdict.expected)) for number in numbers_in(outputs[-1].body))


def _is_supported(
    parts: list[Segment], verdict: Verdict, formulations: Sequence[Formulation], stop_reason: StopReason
) -> bool:
    """Whether a flawless response shows what one must: a right, well-formed answer that a solver's output bears out."""
    if not (verdict.correct and verdict.protocol_ok and stop_reason is StopReason.FINISHED):
        return False
    if not any(part.solves for part in parts):
        return False
    answer = verdict.got
    if not isinstance(answer, float):
        return bool(of_kind(parts, SpanKind.OUTPUT))
    if formulations:
        return any(formulation.backs(answer) for formulation in formulations)
    printed = numbers_in(" ".join(output.body for output in of_kind(parts, SpanKind.OUTPUT)))
    return any(agrees(abs(answer), number) for number in printed)
