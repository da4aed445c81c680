"""From a finished rollout to a graded trajectory: the record that curation, training and evaluation keep."""

from __future__ import annotations

from calmstorm.grading.compare import TOLERANCE
from calmstorm.grading.verdict import grade_rollout
from calmstorm.records import Problem, Stage, Trajectory
from calmstorm.rollout import Rollout


def graded_trajectory(
    problem: Problem, rollout: Rollout, *, stage: Stage, sample: int, round: int = 0, tolerance: float = TOLERANCE
) -> Trajectory:
    """Grades a rollout and returns it as the record that goes into `trajectories.jsonl`.

    Args:
        problem: The problem that was posed.
        rollout: The finished attempt.
        stage: Part of the run that it belongs to.
        sample: Which attempt at the problem this is, from 0.
        round: Interventions made so far on this sample.
        tolerance: Relative tolerance, unless the problem has its own.
    """
    verdict = grade_rollout(problem, rollout.spans, rollout.stop_reason, tolerance=tolerance)
    return Trajectory(
        problem_id=problem.id,
        sample=sample,
        round=round,
        stage=stage,
        suite=problem.suite,
        spans=rollout.spans,
        stop_reason=rollout.stop_reason,
        executions=rollout.executions,
        answer=verdict.got,
        verdict=verdict,
        usage=rollout.usage,
    )
