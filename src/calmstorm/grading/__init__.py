"""Grading: extract the boxed answer, compare it with the label, reward it (paper eq. 3).

`grade_rollout` is the rule for rollouts, `grade` for plain texts, `graded_trajectory` makes the record of it;
`extract_answer` and `compare` are the two halves.
"""

from calmstorm.grading.answers import Extracted, extract_answer
from calmstorm.grading.check import ProblemCheck, check_problems
from calmstorm.grading.compare import TOLERANCE, compare
from calmstorm.grading.trajectory import graded_trajectory
from calmstorm.grading.verdict import answer_text, grade, grade_rollout, is_gradable, regrade, reward

__all__ = [
    "TOLERANCE",
    "Extracted",
    "ProblemCheck",
    "answer_text",
    "check_problems",
    "compare",
    "extract_answer",
    "grade",
    "grade_rollout",
    "graded_trajectory",
    "is_gradable",
    "regrade",
    "reward",
]
