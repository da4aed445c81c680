"""The labels of all versions of a benchmark side by side, problem by problem: where they agree and which are suspect.

Two numbers are the same within 1e-6 relative, rounded within 0.005 or 0.1 %, and differ otherwise. Which label is right
is not decided here; a reference solution given by the user is set beside them.
"""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import IO

from calmstorm.problems.benchmarks import Labelled, load_labelled
from calmstorm.problems.benchmarks_table import Version
from calmstorm.problems.files import load_problems
from calmstorm.problems.labels import parse_label
from calmstorm.problems.matching import MatchedProblem, join_edited, match_texts
from calmstorm.problems.rows import read_rows
from calmstorm.problems.texts import near_pairs, text_key
from calmstorm.records import LabelStatus, Problem, Record

SAME_RELATIVE = 1e-6
ROUNDED_ABSOLUTE = 0.005
ROUNDED_RELATIVE = 1e-3


class LabelAgreement(StrEnum):
    """How labels of one problem compare; of several, the worst, in this order."""

    SINGLE = "single"
    """Only one version has the problem."""
    NEITHER = "neither"
    """No label is a number."""
    SAME = "same"
    ROUNDING = "rounding"
    NO_NUMBER = "no_number"
    """One label is a number where another is a status."""
    DIFFERS = "differs"


AGREE = frozenset({LabelAgreement.SAME, LabelAgreement.ROUNDING})
DISAGREE = frozenset({LabelAgreement.DIFFERS, LabelAgreement.NO_NUMBER})
_ORDER = list(LabelAgreement)


class PairCount(Record):
    """How the labels of two versions compare."""

    first: str
    second: str
    paired: int
    edited: int
    """Pairs among them whose texts are not the same after normalisation."""
    same: int
    rounding: int
    differs: int
    differs_edited: int
    """Pairs among these whose texts are not the same: an edit may have changed the answer on purpose."""
    no_number: int
    neither: int


@dataclass
class AuditedProblem:
    """One problem with what is to be said about its labels."""

    matched: MatchedProblem
    reference: Problem | None
    """Label by the reference solution."""
    twins: list[str] = field(default_factory=list)
    """Near duplicates in the same version that have the same numbers and another label."""

    @property
    def agreement(self) -> LabelAgreement:
        """The worst agreement among its labels."""
        pairs = combinations(self.matched.problems.values(), 2)
        return max((compare(one, other) for one, other in pairs), key=_ORDER.index, default=LabelAgreement.SINGLE)

    @property
    def suspects(self) -> list[str]:
        """What speaks against single labels, whatever the others say."""
        problems = self.matched.problems
        by_doubt: dict[str, list[str]] = defaultdict(list)
        for name, labelled in self.matched.labels.items():
            by_doubt[labelled.doubt].append(name)
        suspects = [f"{', '.join(names)}: {doubt}" for doubt, names in by_doubt.items() if doubt]
        suspects += [
            f"{name}: a magic number stands for the label"
            for name, problem in problems.items()
            if problem.status is LabelStatus.SENTINEL
        ]
        zero = [name for name, problem in problems.items() if problem.answer == 0]
        if zero and any(problem.answer for problem in problems.values()):
            suspects.append(f"{', '.join(zero)}: 0 where others are not")
        return suspects + self.twins

    @property
    def agrees_with_reference(self) -> list[str]:
        """Versions whose label is that of the reference solution, rounding allowed."""
        reference = self.reference
        if reference is None:
            return []
        return [
            name
            for name, problem in self.matched.problems.items()
            if compare(problem, reference) in AGREE or (reference.answer is None and problem.status is reference.status)
        ]


@dataclass(frozen=True)
class Audit:
    """What came of comparing the versions of one benchmark."""

    benchmark: str
    versions: tuple[str, ...]
    problems: list[AuditedProblem]
    pairs: list[PairCount]
    shared: int
    """Texts, the same after normalisation, that at least two versions have."""
    disagreeing: int
    """Those among them whose labels differ, or are a number in one version and none in another."""


def compare(one: Problem, other: Problem) -> LabelAgreement:
    """Returns how two labels of one problem compare."""
    if one.answer is None and other.answer is None:
        return LabelAgreement.NEITHER
    if one.answer is None or other.answer is None:
        return LabelAgreement.NO_NUMBER
    gap, size = abs(one.answer - other.answer), max(abs(one.answer), abs(other.answer))
    if gap <= SAME_RELATIVE * max(1.0, size):
        return LabelAgreement.SAME
    rounded = gap <= ROUNDED_ABSOLUTE or gap <= ROUNDED_RELATIVE * size
    return LabelAgreement.ROUNDING if rounded else LabelAgreement.DIFFERS


def audit_benchmark(
    benchmark: str,
    versions: Sequence[Version],
    folder: Path | None,
    *,
    as_published: bool = False,
    reference: Mapping[str, Problem] | None = None,
) -> Audit:
    """Reads the versions of a benchmark and compares their labels.

    Args:
        benchmark: Its name.
        versions: Those whose files are there.
        folder: Folder of benchmark data.
        as_published: Count labels as others do: the last of several named results, magic numbers as numbers.
        reference: Labels of a reference solution by `text_key`.
    """
    sources = {version.version: list(load_labelled(version, folder, as_published=as_published)) for version in versions}
    return compare_labels(benchmark, sources, reference or {})


def compare_labels(
    benchmark: str, sources: Mapping[str, Iterable[Labelled]], reference: Mapping[str, Problem]
) -> Audit:
    """Matches the problems of several versions and compares their labels."""
    matched = match_texts(sources)
    shared = [AuditedProblem(problem, None).agreement for problem in matched if len(problem.labels) > 1]
    known = {problem.key: reference[problem.key] for problem in matched if problem.key in reference}
    audited = []
    for problem in join_edited(matched, len(sources)):
        keys = [problem.key, *(text_key(labelled.question) for labelled in problem.problems.values())]
        audited.append(AuditedProblem(problem, next((known[key] for key in keys if key in known), None)))
    _mark_twins(audited)
    pairs = [_count(audited, one, other) for one, other in combinations(sources, 2)]
    disagreeing = sum(agreement in DISAGREE for agreement in shared)
    return Audit(benchmark, tuple(sources), audited, pairs, len(shared), disagreeing)


def read_reference(path: Path) -> dict[str, Problem]:
    """Reads a reference solution: rows with a text or a `key` of an earlier audit, and an answer.

    Raises:
        ProblemFileError: One line: file, place, what is wrong, what to do.
    """
    first = next(iter(read_rows(path)), None)
    if first is None or "key" not in first.data:
        return {text_key(problem.question): problem for problem in load_problems(path)}
    reference = {}
    for row in read_rows(path):
        try:
            label = parse_label(row.data.get("answer"))
        except ValueError as error:
            raise row.refused(str(error), "give a number or a status word") from None
        key = str(row.data.get("key"))
        reference[key] = Problem(id=key, question="", answer=label.answer, status=label.status)
    return reference


def write_csv(file: IO[str], audits: Iterable[Audit]) -> None:
    """Writes one line for each problem and version: its label, and what is to be said about the problem's labels."""
    columns = (
        "benchmark key agreement suspects reference reference_agrees_with version id label text_edited text_begins"
    )
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns.split())
    for audit in audits:
        for audited in audit.problems:
            matched = audited.matched
            about = [
                audit.benchmark,
                matched.key,
                audited.agreement.value,
                "; ".join(audited.suspects),
                "" if audited.reference is None else shown(audited.reference),
                "; ".join(audited.agrees_with_reference),
            ]
            begins = " ".join(matched.question.split())[:80]
            for name, problem in matched.problems.items():
                edited = "yes" if name in matched.edited else "no"
                writer.writerow([*about, name, problem.id, shown(problem), edited, begins])


def shown(problem: Problem) -> str:
    """Returns a label as it is written down: the number in full, or the status word."""
    return problem.status.value if problem.answer is None else f"{problem.answer:.17g}"


def _mark_twins(audited: Sequence[AuditedProblem]) -> None:
    """Says of near duplicates with the same numbers but different labels that one of the two must be wrong."""
    questions = [problem.matched.question for problem in audited]
    numbers = [sorted(re.findall(r"\d+(?:\.\d+)?", question)) for question in questions]
    for one, other in near_pairs(questions):
        if numbers[one] != numbers[other]:
            continue
        first, second = (audited[number].matched.problems for number in (one, other))
        for name in sorted(first.keys() & second.keys()):
            if compare(first[name], second[name]) in DISAGREE:
                for number, twin in ((one, second[name]), (other, first[name])):
                    text = f"{name}: {twin.id} is nearly the same text and has the label {shown(twin)}"
                    audited[number].twins.append(text)


def _count(audited: Iterable[AuditedProblem], one: str, other: str) -> PairCount:
    counts: Counter[str] = Counter()
    for problems in (audit.matched.problems for audit in audited):
        if one in problems and other in problems:
            first, second = problems[one], problems[other]
            agreement = compare(first, second)
            edited = text_key(first.question) != text_key(second.question)
            counts.update([agreement.value, "paired"])
            counts["edited"] += edited
            counts["differs_edited"] += edited and agreement is LabelAgreement.DIFFERS
    return PairCount(first=one, second=other, **{name: counts[name] for name in _COUNTS})


_COUNTS = [name for name in PairCount.model_fields if name not in ("first", "second")]
