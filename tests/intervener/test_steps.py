"""Steps of a response, and any Intervener as a validator of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from calmstorm.intervener.protocol import Reviewed
from calmstorm.intervener.rules import RulesIntervener, assess_trajectory
from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.intervener.steps import IntervenerSteps, Step, StepValidator, steps_of, trajectory_of
from calmstorm.records import (
    Author,
    Execution,
    ExecutionStatus,
    Formulation,
    Intervention,
    Problem,
    ReviewOutcome,
    Span,
    SpanKind,
    StopReason,
    Trajectory,
    Trigger,
)
from tests.intervener.workshop_case import WORKSHOP, captured

PLAN = "Maximize profit: 30 * desk + 20 * chair\nlabor: 4 * desk + 2 * chair <= 40\nmax desk: desk <= 8\nIntegers.\n"
SCRIPT = "```python\nimport pulp\nm.solve()\nprint(value)\n```\n"
OUTPUT = "```output\n400\n```\n"
END = "Chairs earn more per hour of labor, so this is plausible.\n\\boxed{400}"


def reasoner(text: str, kind: SpanKind = SpanKind.TEXT) -> Span:
    return Span(author=Author.REASONER, kind=kind, text=text)


def output(text: str = OUTPUT) -> Span:
    return Span(author=Author.INTERPRETER, kind=SpanKind.OUTPUT, text=text)


def ran(*formulations: Formulation) -> Execution:
    return Execution(
        status=ExecutionStatus.OK, stdout="400\n", wall_seconds=0.1, tier="unsafe", formulations=formulations
    )


FIRST = (reasoner(PLAN), reasoner(SCRIPT, SpanKind.CODE), output())


def so_far(*formulations: Formulation, spans: Sequence[Span] = FIRST) -> list[Step]:
    return steps_of(spans, [ran(*formulations)])


def flaws(steps: Sequence[Step], problem: Problem = WORKSHOP) -> list[int]:
    return [int(finding.trigger) for finding in assess_trajectory(problem, trajectory_of(problem, steps)).findings]


def test_a_step_ends_with_its_output_or_with_the_response():
    spans = (*FIRST, reasoner(SCRIPT, SpanKind.CODE), output(), reasoner(END))
    steps = steps_of(spans, [ran(), ran(captured())], stop_reason=StopReason.FINISHED, sample=3, round=2)
    assert [step.text for step in steps] == [PLAN + SCRIPT + OUTPUT, SCRIPT + OUTPUT, END]
    assert [len(step.executions) for step in steps] == [1, 1, 0]
    assert [step.is_last for step in steps] == [False, False, True]
    whole = trajectory_of(WORKSHOP, steps)
    assert whole.spans == spans
    assert whole.formulations == (captured(),)
    assert (whole.sample, whole.round, whole.stop_reason) == (3, 2, StopReason.FINISHED)
    assert whole.verdict is not None
    assert whole.verdict.correct


def test_a_response_without_code_is_one_step_and_an_empty_one_too():
    assert [step.text for step in steps_of((reasoner(END),), ())] == [END]
    assert [step.text for step in steps_of((), (), stop_reason=StopReason.FINISHED)] == [""]


def test_the_end_is_not_judged_before_the_end():
    assert flaws(so_far(captured())) == []
    assert flaws(so_far(captured()), WORKSHOP.model_copy(update={"reference": None})) == []
    assert flaws(so_far()) == []


def test_a_solve_with_another_result_is_a_flaw_at_once_and_one_with_the_right_result_is_none():
    turned = captured(costs={"a": -30.0, "b": -20.0}, objective=0.0)
    assert flaws(so_far(turned)) == [6]
    assert flaws(so_far(turned.model_copy(update={"objective": 400.0}))) == []


def test_a_script_that_failed_is_a_flaw_at_once():
    failed = output("```output\nAttributeError: 'LpProblem' object has no attribute 'solv'\n```\n")
    steps = steps_of((reasoner(PLAN), reasoner(SCRIPT, SpanKind.CODE), failed), [ran()])
    assert 6 in flaws(steps)


def test_habits_are_seen_at_once():
    by_hand = (reasoner(PLAN + "By hand, 20 chairs make 400.\n"), *FIRST[1:])
    assert flaws(so_far(captured(), spans=by_hand)) == [1]


@pytest.mark.parametrize("trigger", list(Trigger))
def test_any_intervener_is_a_validator_but_not_of_the_end_before_the_end(trigger):
    def always(problem: Problem, trajectory: Trajectory) -> Intervention:
        return Intervention(
            problem_id=problem.id,
            sample=trajectory.sample,
            round=trajectory.round,
            trigger=trigger,
            analysis="",
            target=PLAN,
            position=0,
            hint="Wait.",
        )

    validator: StepValidator = IntervenerSteps(ScriptedIntervener(always))
    early = asyncio.run(validator.validate(WORKSHOP, so_far(captured())[0], ()))
    of_the_end = trigger in (Trigger.NO_SANITY_CHECK, Trigger.PROTOCOL_VIOLATION)
    assert (early.intervention is None) == of_the_end
    *before, last = steps_of((*FIRST, reasoner(END)), [ran(captured())], stop_reason=StopReason.FINISHED)
    assert asyncio.run(validator.validate(WORKSHOP, last, before)).intervention is not None


def test_the_last_step_is_reviewed_as_the_whole_response():
    rules = RulesIntervener()
    bare = reasoner("\\boxed{400}")
    *before, last = steps_of((*FIRST, bare), [ran(captured())], stop_reason=StopReason.FINISHED)
    reviewed = asyncio.run(IntervenerSteps(rules).validate(WORKSHOP, last, before))
    assert reviewed == asyncio.run(rules.review(WORKSHOP, trajectory_of(WORKSHOP, [*before, last])))
    assert reviewed.intervention is not None
    assert reviewed.intervention.trigger is Trigger.NO_SANITY_CHECK


def test_rules_of_another_domain_need_nothing_but_the_steps():
    class NoGlobals:
        async def validate(self, problem: Problem, step: Step, before: Sequence[Step]) -> Reviewed:
            return Reviewed(outcome=ReviewOutcome.FAILED if "global" in step.text else ReviewOutcome.FLAWLESS)

    validator: StepValidator = NoGlobals()
    assert asyncio.run(validator.validate(WORKSHOP, so_far()[0], ())).outcome is ReviewOutcome.FLAWLESS
