"""The rule engine: finds flaws in responses, and as an Intervener answers the first one with a hint.

It reads the words, the scripts, their output, the models that the scripts solved, and the label. It never puts the
label into a hint.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from calmstorm.grading import grade, is_gradable
from calmstorm.intervener.hint_checks import intervention_at
from calmstorm.intervener.hints import Correction, hint
from calmstorm.intervener.protocol import MOST_TRIGGERS, Reviewed
from calmstorm.intervener.rules.behaviour import (
    fragmented_coding,
    no_sanity_check,
    premature_solving,
    protocol_violation,
    redundant_verification,
)
from calmstorm.intervener.rules.certainty import doubt
from calmstorm.intervener.rules.findings import Assessment, Finding
from calmstorm.intervener.rules.model import flaw_so_far, modeling_flaw, unexplained_error
from calmstorm.intervener.segments import segments, without_hints
from calmstorm.records import Formulation, Problem, StopReason, Trajectory, Trigger
from calmstorm.settings import derive_seed


def find_flaws(
    problem: Problem,
    response: str,
    *,
    formulations: Sequence[Formulation] = (),
    stop_reason: StopReason = StopReason.FINISHED,
) -> list[Finding]:
    """Returns the flaws of a response in order of appearance, at most one of each trigger.

    Args:
        problem: Problem with its label; without a usable label triggers 5 and 6 cannot be told.
        response: The response, hints blanked out where it has any.
        formulations: Models that its scripts solved, where that is known.
        stop_reason: A response that was cut off has no final answer to be judged; one that may go on (`REVIEWED`)
            none to be missed.
    """
    parts = segments(response)
    if not parts:
        analysis = "There is no answer at all."
        return [Finding(Trigger.PROTOCOL_VIOLATION, 0, 0, analysis, Correction.REREAD, sure=True)]
    verdict = grade(problem, response)
    findings = [
        premature_solving(parts, verdict.got),
        fragmented_coding(parts),
        redundant_verification(parts, verdict.got),
    ]
    if stop_reason is StopReason.FINISHED:
        findings.append(protocol_violation(parts, response))
        if verdict.correct or not is_gradable(problem):
            findings.append(no_sanity_check(parts))
    if stop_reason is StopReason.REVIEWED:
        findings.append(flaw_so_far(problem, parts, formulations))
    elif is_gradable(problem) and not verdict.correct:
        findings.append(modeling_flaw(problem, parts, formulations))
        if not any(findings):
            findings.append(unexplained_error(parts, problem.question))
    # the sort is stable: where two flaws begin at one place, the more basic trigger goes first
    return sorted((finding for finding in findings if finding is not None), key=lambda finding: finding.start)


def assess(
    problem: Problem,
    response: str,
    *,
    formulations: Sequence[Formulation] = (),
    stop_reason: StopReason = StopReason.FINISHED,
) -> Assessment:
    """Returns the flaws that count for a response, with how sure the rules are; arguments as for `find_flaws`."""
    findings = named(find_flaws(problem, response, formulations=formulations, stop_reason=stop_reason))
    parts = segments(response)
    if not parts:
        return Assessment(tuple(findings))
    verdict = grade(problem, response)
    return Assessment(tuple(findings), doubt(problem, parts, findings, verdict, formulations, stop_reason))


def assess_trajectory(problem: Problem, trajectory: Trajectory) -> Assessment:
    """Returns the flaws that count for a trajectory, hints set aside, with how sure the rules are."""
    response = without_hints(trajectory.spans)
    return assess(problem, response, formulations=trajectory.formulations, stop_reason=trajectory.stop_reason)


def annotate(problem: Problem, trajectory: Trajectory) -> list[Finding]:
    """Returns the flaws of a trajectory, hints set aside, as they are counted."""
    return named(_all_flaws(problem, trajectory))


def named(findings: Sequence[Finding]) -> list[Finding]:
    """Returns the findings that count for a response: the first `MOST_TRIGGERS`.

    A response that computes everything again has not gone straight to the answer, so trigger 4 does not count beside 3.
    """
    verified = any(finding.trigger is Trigger.REDUNDANT_VERIFICATION for finding in findings)
    counted = [finding for finding in findings if not (verified and finding.trigger is Trigger.NO_SANITY_CHECK)]
    return counted[:MOST_TRIGGERS]


def _all_flaws(problem: Problem, trajectory: Trajectory) -> list[Finding]:
    response = without_hints(trajectory.spans)
    return find_flaws(problem, response, formulations=trajectory.formulations, stop_reason=trajectory.stop_reason)


class RulesIntervener:
    """An Intervener that is a rule engine. Deterministic by seed."""

    name = "rules"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
        """Answers the first flaw with a hint; see `calmstorm.intervener.protocol.Intervener`."""
        flaws = _all_flaws(problem, trajectory)
        return self._reviewed(trajectory, flaws[0] if flaws else None)

    def sure_review(self, problem: Problem, trajectory: Trajectory) -> Reviewed | None:
        """Reviews where the rules are sure of the first flaw, or that there is none; else abstains.

        Returns:
            None where the rules abstain, so that somebody else is to be asked.
        """
        assessment = assess_trajectory(problem, trajectory)
        if not assessment.sure:
            return None
        return self._reviewed(trajectory, assessment.findings[0] if assessment.findings else None)

    def _reviewed(self, trajectory: Trajectory, first: Finding | None) -> Reviewed:
        """Returns a review, with a hint for the first flaw where there is one."""
        if first is None:
            return Reviewed.of(None)
        rng = random.Random(derive_seed(self._seed, trajectory.problem_id, trajectory.sample, trajectory.round))
        correction = intervention_at(
            trajectory,
            first.start,
            first.end,
            first.trigger,
            analysis=first.analysis,
            words=hint(rng, first.correction, **first.names),
            intervener=self.name,
        )
        return Reviewed.of(correction)

    async def close(self) -> None:
        """Nothing to free."""
