"""Checks a file of problems: by the grading in use, each published answer must score 1 and a corrupted one 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from calmstorm.grading.compare import TOLERANCE
from calmstorm.grading.verdict import grade, is_gradable, reward
from calmstorm.records import LabelStatus, Problem, Record


class ProblemCheck(Record):
    """Result of checking a file of problems."""

    rows: int
    statuses: dict[LabelStatus, int]
    """Number of rows with each status of the label; every status is a key."""
    checked: int
    """Number of labels that were graded: all that an answer can be compared with."""
    problems: tuple[str, ...]
    """What is wrong, one line for each finding; empty when nothing is."""


def check_problems(problems: Iterable[Problem]) -> ProblemCheck:
    """Checks problems one by one; memory does not grow with their number."""
    statuses: Counter[LabelStatus] = Counter()
    checked = 0
    wrong: list[str] = []
    for problem in problems:
        statuses[problem.status] += 1
        if not problem.question.strip():
            wrong.append(f"{problem.id}: the problem text is empty")
        if is_gradable(problem):
            checked += 1
            wrong.extend(f"{problem.id}: {fault}" for fault in _faults(problem))
    return ProblemCheck(
        rows=statuses.total(),
        statuses={status: statuses[status] for status in LabelStatus},
        checked=checked,
        problems=tuple(wrong),
    )


def _faults(problem: Problem) -> list[str]:
    label = problem.label
    right = [repr(label), f"about {label:,} units"] if isinstance(label, float) else [str(label).replace("_", " ")]
    wrong = ["", repr(_corrupted(problem)), "sentinel", *([] if isinstance(label, str) else ["infeasible"])]
    faults = [
        f"its own answer {text!r} does not score 1" for text in right if reward(grade(problem, _boxed(text))) != 1
    ]
    faults += [f"the wrong answer {text!r} scores" for text in wrong if reward(grade(problem, _boxed(text))) != 0]
    return faults


def _corrupted(problem: Problem) -> float:
    """Returns a number just outside the tolerance of the label."""
    label = problem.answer or 0.0
    tolerance = TOLERANCE if problem.tolerance is None else problem.tolerance
    return label + 1.5 * tolerance * (abs(label) or 1.0) if tolerance else label + max(1.0, abs(label))


def _boxed(text: str) -> str:
    return f"\\boxed{{{text}}}"
