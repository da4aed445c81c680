"""The labels of all versions of a benchmark side by side, problem by problem: where they agree and which are suspect.

Problems are matched by normalised text, and after that one to one by their words, as versions edit texts. Two numbers
are the same within 1e-6 relative, rounded within 0.005 or 0.1 %, and differ otherwise. Which label is right is not
decided here; a reference solution given by the user is set beside them.
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
from typing import IO, NamedTuple

from calmstorm.errors import ProblemFileError
from calmstorm.problems.benchmarks import Version, doubts, load_version
from calmstorm.problems.contamination import jaccard, near_pairs, normalised, text_key, word_grams
from calmstorm.problems.files import load_problems
from calmstorm.problems.labels import parse_label
from calmstorm.problems.rows import read_rows
from calmstorm.records import LabelStatus, Problem, Record

SAME_RELATIVE = 1e-6
ROUNDED_ABSOLUTE = 0.005
ROUNDED_RELATIVE = 1e-3
EDITED = 0.3
"""Share of common words (Jaccard) from which two texts of different versions may be one problem, edited."""
REWRITTEN = 0.2
"""The same where the two have the same id and `REWRITTEN_NUMBERS` of their numbers in common."""
REWRITTEN_NUMBERS = 0.5


class Agreement(StrEnum):
    """How labels of one problem stand to each other; of several, the worst."""

    SINGLE = "single"
    """Only one version has the problem."""
    NEITHER = "neither"
    """No label is a number."""
    SAME = "same"
    ROUNDING = "rounding"
    NO_NUMBER = "no_number"
    """One label is a number where another is a status."""
    DIFFERS = "differs"


_ORDER = list(Agreement)


class Labelled(NamedTuple):
    """A problem as one version has it."""

    problem: Problem
    doubt: str = ""
    """Why its label may not be the objective."""


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
class Item:
    """One problem with its labels."""

    key: str
    """Short name of its text; of the first version that has it."""
    question: str
    labels: dict[str, Labelled]
    """By name of the version."""
    edited: set[str] = field(default_factory=set)
    """Versions whose text is an edited one."""
    twins: list[str] = field(default_factory=list)
    """Near duplicates in the same version that have the same numbers and another label."""
    reference: Problem | None = None
    """Label by the reference solution."""

    @property
    def agreement(self) -> Agreement:
        """The worst agreement among its labels."""
        pairs = combinations([each.problem for each in self.labels.values()], 2)
        return max((agreement(one, other) for one, other in pairs), key=_ORDER.index, default=Agreement.SINGLE)

    @property
    def suspects(self) -> list[str]:
        """What speaks against single labels, whatever the others say."""
        by_doubt: dict[str, list[str]] = defaultdict(list)
        for name, each in self.labels.items():
            by_doubt[each.doubt].append(name)
        found = [f"{', '.join(names)}: {doubt}" for doubt, names in by_doubt.items() if doubt]
        found += [
            f"{name}: a magic number stands for the label"
            for name, each in self.labels.items()
            if each.problem.status is LabelStatus.SENTINEL
        ]
        numbers = {name: each.problem.answer for name, each in self.labels.items() if each.problem.answer is not None}
        zero = [name for name, number in numbers.items() if number == 0]
        if zero and any(numbers.values()):
            found.append(f"{', '.join(zero)}: 0 where others are not")
        return found + self.twins

    @property
    def agrees_with_reference(self) -> list[str]:
        """Versions whose label is that of the reference solution, rounding allowed."""
        if self.reference is None:
            return []
        good = (Agreement.SAME, Agreement.ROUNDING)
        return [
            name
            for name, each in self.labels.items()
            if agreement(each.problem, self.reference) in good
            or (self.reference.answer is None and each.problem.status is self.reference.status)
        ]


@dataclass(frozen=True)
class Audit:
    """What came of comparing the versions of one benchmark."""

    benchmark: str
    versions: tuple[str, ...]
    items: list[Item]
    pairs: list[PairCount]
    shared: int
    """Texts, the same after normalisation, that at least two versions have."""
    disagreeing: int
    """Those among them whose labels differ, or are a number in one version and none in another."""


def agreement(one: Problem, other: Problem) -> Agreement:
    """Returns how two labels of one problem compare."""
    if one.answer is None and other.answer is None:
        return Agreement.NEITHER
    if one.answer is None or other.answer is None:
        return Agreement.NO_NUMBER
    gap, size = abs(one.answer - other.answer), max(abs(one.answer), abs(other.answer))
    if gap <= SAME_RELATIVE * max(1.0, size):
        return Agreement.SAME
    return Agreement.ROUNDING if gap <= ROUNDED_ABSOLUTE or gap <= ROUNDED_RELATIVE * size else Agreement.DIFFERS


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
        benchmark: its name.
        versions: those whose files are there.
        folder: folder of benchmark data.
        as_published: count labels as others do: the last of several named results, magic numbers as numbers.
        reference: labels of a reference solution by `text_key`.
    """
    sources = {
        version.version: [
            Labelled(problem, doubt)
            for problem, doubt in zip(
                load_version(version, folder, as_published=as_published), doubts(version, folder), strict=True
            )
        ]
        for version in versions
    }
    return compare_labels(benchmark, sources, reference or {})


def compare_labels(
    benchmark: str, sources: Mapping[str, Iterable[Labelled]], reference: Mapping[str, Problem]
) -> Audit:
    """Matches the problems of several versions and compares their labels."""
    same = _same_texts(sources)
    shared = [item for item in same if len(item.labels) > 1]
    bad = (Agreement.DIFFERS, Agreement.NO_NUMBER)
    disagreeing = sum(item.agreement in bad for item in shared)
    known = {item.key: reference[item.key] for item in same if item.key in reference}
    items = _join_edited(same, len(sources))
    for item in items:
        keys = [item.key, *(text_key(each.problem.question) for each in item.labels.values())]
        item.reference = next((known[key] for key in keys if key in known), None)
    _mark_twins(items)
    pairs = [_count(items, one, other) for one, other in combinations(sources, 2)]
    return Audit(benchmark, tuple(sources), items, pairs, len(shared), disagreeing)


def read_reference(path: Path) -> dict[str, Problem]:
    """Reads a reference solution: rows with a text or a `key` of an earlier audit, and an answer.

    Raises:
        ProblemFileError: one line: file, place, what is wrong, what to do.
    """
    first = next(iter(read_rows(path)), None)
    if first is None or "key" not in first.data:
        return {text_key(problem.question): problem for problem in load_problems(path)}
    found = {}
    for row in read_rows(path):
        try:
            label = parse_label(row.data.get("answer"))
        except ValueError as error:
            raise ProblemFileError(f"{path}, {row.place}: {error}; give a number or a status word") from None
        key = str(row.data.get("key"))
        found[key] = Problem(id=key, question="", answer=label.answer, status=label.status)
    return found


def write_csv(file: IO[str], audit: Audit, header: bool = True) -> None:
    """Writes one line a problem: its labels in every version, and what is to be said about them."""
    writer = csv.writer(file, lineterminator="\n")
    if header:
        writer.writerow(
            ["benchmark", "key", "agreement", "suspects", "reference", "reference_agrees_with", "version", "id",
             "label", "text_edited", "text_begins"]
        )  # fmt: skip
    for item in audit.items:
        for name, each in item.labels.items():
            writer.writerow(
                [
                    audit.benchmark,
                    item.key,
                    item.agreement.value,
                    "; ".join(item.suspects),
                    "" if item.reference is None else shown(item.reference),
                    "; ".join(item.agrees_with_reference),
                    name,
                    each.problem.id,
                    shown(each.problem),
                    "yes" if name in item.edited else "no",
                    " ".join(item.question.split())[:80],
                ]
            )


def shown(problem: Problem) -> str:
    """Returns a label as it is written down: the number in full, or the status word."""
    return problem.status.value if problem.answer is None else f"{problem.answer:.17g}"


def _same_texts(sources: Mapping[str, Iterable[Labelled]]) -> list[Item]:
    items: dict[str, Item] = {}
    for name, rows in sources.items():
        for each in rows:
            text = normalised(each.problem.question)
            if not text:
                continue
            item = items.setdefault(text, Item(text_key(each.problem.question), each.problem.question, {}))
            item.labels.setdefault(name, each)
    return list(items.values())


def _text_of(each: Labelled) -> str:
    return text_key(each.problem.question)


def _join_edited(items: list[Item], versions: int) -> list[Item]:
    """Joins texts that no version has both of, the most similar first, so that each version has at most one."""
    whole = [item for item in items if len(item.labels) == versions]
    parts = [item for item in items if len(item.labels) < versions]
    words = [word_grams(item.question, 1) for item in parts]
    likeness = [
        (-similarity, one, other)
        for one, other in combinations(range(len(parts)), 2)
        if not parts[one].labels.keys() & parts[other].labels.keys()
        and (similarity := jaccard(words[one], words[other])) >= REWRITTEN
        and (similarity >= EDITED or _is_rewritten(parts[one], parts[other]))
    ]
    standing = list(range(len(parts)))
    for _, one, other in sorted(likeness):
        first, second = standing[one], standing[other]
        if first == second or parts[first].labels.keys() & parts[second].labels.keys():
            continue
        first, second = sorted((first, second))
        parts[first].edited |= parts[second].labels.keys()
        parts[first].labels |= parts[second].labels
        standing = [first if each == second else each for each in standing]
    return whole + [parts[number] for number in sorted(set(standing))]


def _is_rewritten(one: Item, other: Item) -> bool:
    """Says whether two texts that share few words have an id in common and most of their numbers.

    Neither alone would do: ids are row numbers in most files, and small numbers stand in many problems.
    """
    if {each.problem.id for each in one.labels.values()}.isdisjoint(each.problem.id for each in other.labels.values()):
        return False
    return jaccard(_numbers(one.question), _numbers(other.question)) >= REWRITTEN_NUMBERS


def _numbers(text: str) -> frozenset[int]:
    return frozenset(map(int, re.findall(r"\d+", re.sub(r"(?<=\d),(?=\d{3})", "", text))))


def _mark_twins(items: Sequence[Item]) -> None:
    """Says of near duplicates with the same numbers but different labels that one of the two must be wrong."""
    numbers = [sorted(re.findall(r"\d+(?:\.\d+)?", item.question)) for item in items]
    for one, other in near_pairs([item.question for item in items]):
        first, second = items[one], items[other]
        for name in sorted(first.labels.keys() & second.labels.keys()) if numbers[one] == numbers[other] else ():
            pair = first.labels[name].problem, second.labels[name].problem
            if agreement(*pair) in (Agreement.DIFFERS, Agreement.NO_NUMBER):
                for item, twin in ((first, pair[1]), (second, pair[0])):
                    item.twins.append(f"{name}: {twin.id} is nearly the same text and has the label {shown(twin)}")


def _count(items: Iterable[Item], one: str, other: str) -> PairCount:
    counts: Counter[Agreement] = Counter()
    edited = differs_edited = 0
    for item in items:
        if one in item.labels and other in item.labels:
            first, second = item.labels[one], item.labels[other]
            found = agreement(first.problem, second.problem)
            other_text = _text_of(first) != _text_of(second)
            counts[found] += 1
            edited += other_text
            differs_edited += other_text and found is Agreement.DIFFERS
    return PairCount(
        first=one,
        second=other,
        paired=counts.total(),
        edited=edited,
        same=counts[Agreement.SAME],
        rounding=counts[Agreement.ROUNDING],
        differs=counts[Agreement.DIFFERS],
        differs_edited=differs_edited,
        no_number=counts[Agreement.NO_NUMBER],
        neither=counts[Agreement.NEITHER],
    )
