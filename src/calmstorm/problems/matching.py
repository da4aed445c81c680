"""Finds the same problems in several versions of a benchmark: by normalised text, then one to one by their words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations

from calmstorm.problems.benchmarks import Labelled
from calmstorm.problems.texts import jaccard, normalised, text_key, word_grams
from calmstorm.records import Problem

EDITED = 0.3
"""Share of common words (Jaccard) from which two texts of different versions may be one problem, edited."""
REWRITTEN = 0.2
"""The same where the two have the same id and `REWRITTEN_NUMBERS` of their numbers in common."""
REWRITTEN_NUMBERS = 0.5


@dataclass
class MatchedProblem:
    """One problem as several versions have it."""

    key: str
    """Short name of its text; of the first version that has it."""
    question: str
    labels: dict[str, Labelled]
    """By name of the version."""
    edited: set[str] = field(default_factory=set)
    """Versions whose text is an edited one."""

    @property
    def problems(self) -> dict[str, Problem]:
        """The problem by name of the version."""
        return {name: labelled.problem for name, labelled in self.labels.items()}


def match_texts(sources: Mapping[str, Iterable[Labelled]]) -> list[MatchedProblem]:
    """Returns the texts of all versions, those that are the same after normalisation as one; blank ones left out."""
    matched: dict[str, MatchedProblem] = {}
    for name, rows in sources.items():
        for labelled in rows:
            question = labelled.problem.question
            if text := normalised(question):
                problem = matched.setdefault(text, MatchedProblem(text_key(question), question, {}))
                problem.labels.setdefault(name, labelled)
    return list(matched.values())


def join_edited(problems: list[MatchedProblem], versions: int) -> list[MatchedProblem]:
    """Joins texts that no version has both of, the most similar first, so that each version has at most one."""
    whole = [problem for problem in problems if len(problem.labels) == versions]
    parts = [problem for problem in problems if len(problem.labels) < versions]
    words = [word_grams(problem.question, 1) for problem in parts]
    likeness = [
        (-similarity, one, other)
        for one, other in combinations(range(len(parts)), 2)
        if not parts[one].labels.keys() & parts[other].labels.keys()
        and (similarity := jaccard(words[one], words[other])) >= REWRITTEN
        and (similarity >= EDITED or _is_rewritten(parts[one], parts[other]))
    ]
    joined = list(range(len(parts)))  # the part that each was joined to
    for _, one, other in sorted(likeness):
        first, second = sorted((joined[one], joined[other]))
        if first == second or parts[first].labels.keys() & parts[second].labels.keys():
            continue
        parts[first].edited |= parts[second].labels.keys()
        parts[first].labels |= parts[second].labels
        joined = [first if part == second else part for part in joined]
    return whole + [parts[number] for number in sorted(set(joined))]


def _is_rewritten(one: MatchedProblem, other: MatchedProblem) -> bool:
    """Says whether two texts that share few words have an id in common and most of their numbers.

    Neither alone would do: ids are row numbers in most files, and small numbers stand in many problems.
    """
    ids, others = ({problem.id for problem in matched.problems.values()} for matched in (one, other))
    return not ids.isdisjoint(others) and jaccard(_numbers(one), _numbers(other)) >= REWRITTEN_NUMBERS


def _numbers(problem: MatchedProblem) -> frozenset[int]:
    return frozenset(map(int, re.findall(r"\d+", re.sub(r"(?<=\d),(?=\d{3})", "", problem.question))))
