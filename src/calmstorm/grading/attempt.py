"""A finished rollout becomes a trajectory: graded, with the keys that place it in a run."""

from __future__ import annotations

from calmstorm.grading.compare import TOLERANCE
from calmstorm.grading.verdict import answer_text, grade
from calmstorm.records import Problem, Trajectory
from calmstorm.rollout import Rollout


def judge(
    problem: Problem, rollout: Rollout, *, stage: str, sample: int, round: int = 0, tolerance: float = TOLERANCE
) -> Trajectory:
    """Returns the trajectory of a rollout, with its verdict.

    Args:
        problem: What was to be solved.
        rollout: The attempt.
        stage: Part of the run that made it.
        sample: Which of the attempts at this problem.
        round: Number of interventions so far.
        tolerance: Relative tolerance of the comparator (paper eq. 3).
    """
    verdict = grade(problem, answer_text(rollout.spans), stop_reason=rollout.stop_reason, tolerance=tolerance)
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
