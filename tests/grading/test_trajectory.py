from __future__ import annotations

from calmstorm.grading import TOLERANCE, graded_trajectory
from calmstorm.reasoner.protocol import Prefix
from calmstorm.records import (
    Author,
    Execution,
    ExecutionStatus,
    LabelStatus,
    Problem,
    Span,
    SpanKind,
    Stage,
    StopReason,
    Trajectory,
    Usage,
    VerdictStatus,
)
from calmstorm.rollout import Rollout

PROBLEM = Problem(id="p", question="How many?", answer=15.0, status=LabelStatus.OPTIMAL, suite="nl4opt")
ROLLOUT = Rollout(
    prompt=Prefix(text="How many?"),
    spans=(
        Span(author=Author.REASONER, kind=SpanKind.TEXT, text="\\boxed{16}\n"),
        Span(author=Author.INTERPRETER, kind=SpanKind.OUTPUT, text="\\boxed{15}"),
    ),
    stop_reason=StopReason.FINISHED,
    executions=(Execution(status=ExecutionStatus.OK, stdout="15", wall_seconds=0.1, tier="unsafe"),),
    usage=Usage(prompt_tokens=3, completion_tokens=7, seconds=0.5),
)


def test_a_rollout_becomes_the_record_of_its_attempt() -> None:
    trajectory = graded_trajectory(PROBLEM, ROLLOUT, stage=Stage.CURATION, sample=2)
    verdict = trajectory.verdict
    assert verdict is not None
    assert (verdict.status, verdict.got, verdict.tolerance) == (VerdictStatus.WRONG, 16.0, TOLERANCE)
    assert trajectory == Trajectory(
        problem_id="p",
        sample=2,
        round=0,
        stage=Stage.CURATION,
        suite="nl4opt",
        spans=ROLLOUT.spans,
        stop_reason=StopReason.FINISHED,
        executions=ROLLOUT.executions,
        answer=16.0,
        verdict=verdict,
        usage=ROLLOUT.usage,
    )


def test_the_round_and_the_tolerance_are_those_given() -> None:
    trajectory = graded_trajectory(PROBLEM, ROLLOUT, stage=Stage.CURATION, sample=0, round=3, tolerance=0.1)
    assert trajectory.round == 3
    assert trajectory.verdict is not None
    assert (trajectory.verdict.correct, trajectory.verdict.tolerance) == (True, 0.1)


def test_a_failed_rollout_gets_no_grade() -> None:
    failed = ROLLOUT.model_copy(update={"stop_reason": StopReason.INFRASTRUCTURE})
    trajectory = graded_trajectory(PROBLEM, failed, stage=Stage.BASE, sample=0)
    assert trajectory.verdict is not None
    assert trajectory.verdict.status is VerdictStatus.INFRASTRUCTURE
    assert trajectory.stop_reason is StopReason.INFRASTRUCTURE
