"""The same answers scored against every published version of the labels.

Two versions of a benchmark seldom hold the same problems, so their scores differ by the problems as well as by the
labels. Beside the score of each version stands the score that the given labels make on the very same answers, and the
problems on which the two part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from calmstorm.evaluation.answers import Answer
from calmstorm.evaluation.summary import Summary, Tally
from calmstorm.grading import TOLERANCE, is_gradable, regrade
from calmstorm.problems.benchmarks import load_version
from calmstorm.problems.benchmarks_table import Version
from calmstorm.problems.texts import text_key
from calmstorm.records import Problem, Record

_Name = tuple[str, str]
"""(suite, problem id)."""


class Change(Record):
    """A problem on which a version comes to another count of correct answers than the given label."""

    problem_id: str
    given: float | str | None
    """The given label."""
    label: float | str | None
    """The label of the version."""
    correct_given: int
    """Answers that the given label makes correct."""
    correct: int
    samples: int


class VersionScore(Record):
    """The answers against one version."""

    version: str
    summary: Summary
    given: Summary
    """The given labels on the same answers; both leave out what the version has no usable label for."""
    changes: tuple[Change, ...]


class VersionScores(Record):
    """The answers against all versions that have any of their texts."""

    versions: tuple[VersionScore, ...]
    problems: int
    unmatched: int
    """Problems whose text no version has."""


def score_by_versions(
    answers: Iterable[Answer], versions: Sequence[Version], folder: Path | None, tolerance: float = TOLERANCE
) -> VersionScores:
    """Grades answers against the labels of several versions, matched by normalised text.

    Args:
        answers: Graded against the labels they came with.
        versions: Those whose files are there.
        folder: Folder of benchmark data.
        tolerance: Relative tolerance, unless a label needs a coarser one.
    """
    columns = [_Column(version, folder, tolerance) for version in versions]
    keys: dict[_Name, str] = {}
    matched: set[_Name] = set()
    for answer in answers:
        name = (answer.problem.suite, answer.problem.id)
        if name not in keys:
            keys[name] = text_key(answer.problem.question) if answer.problem.question.strip() else ""
        for column in columns:
            if column.take(answer, keys[name]):
                matched.add(name)
    return VersionScores(
        versions=tuple(column.score() for column in columns if column.used),
        problems=len(keys),
        unmatched=len(keys) - len(matched),
    )


class _Column:
    """What one version makes of the answers."""

    def __init__(self, version: Version, folder: Path | None, tolerance: float) -> None:
        self.version = version
        self.used: dict[_Name, tuple[Problem, Problem]] = {}
        self._tolerance = tolerance
        self._problems: dict[str, Problem] = {}
        for problem in load_version(version, folder):
            if problem.question.strip():
                self._problems.setdefault(text_key(problem.question), problem)
        self._own, self._given = Tally(), Tally()
        self._samples: Counter[_Name] = Counter()

    def take(self, answer: Answer, key: str) -> bool:
        """Counts an answer if the version has a usable label for it; says whether it has the problem at all."""
        problem = self._problems.get(key)
        if problem is None:
            return False
        if not is_gradable(problem):
            return True
        given = answer.problem
        name = (given.suite, given.id)
        verdict = regrade(problem, answer.verdict, tolerance=self._tolerance)
        self._own.add(given.suite, given.id, verdict)
        self._given.add(given.suite, given.id, answer.verdict)
        self.used[name] = given, problem
        self._samples[name] += 1
        return True

    def score(self) -> VersionScore:
        """Returns the result."""
        own, given = self._own.outcomes(), self._given.outcomes()
        changes = []
        for name, (problem, labelled) in self.used.items():
            correct, correct_given = (outcomes.get(name, (0, 0))[1] for outcomes in (own, given))
            if correct != correct_given:
                change = Change(
                    problem_id=problem.id,
                    given=problem.label,
                    label=labelled.label,
                    correct_given=correct_given,
                    correct=correct,
                    samples=self._samples[name],
                )
                changes.append(change)
        return VersionScore(
            version=self.version.name,
            summary=self._own.summary(),
            given=self._given.summary(),
            changes=tuple(changes),
        )
