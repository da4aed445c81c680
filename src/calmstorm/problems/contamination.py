"""Whether known problem texts occur in a file: the same, inside a longer text, or nearly the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from calmstorm.problems.rows import read_rows
from calmstorm.problems.texts import GRAM, NEAR, GramIndex, normalised, word_grams

CONTAINED = 0.95
"""Share of a text's word 4-grams found in a longer text from which it counts as contained there."""
_SHORT = 20
"""Texts with fewer normalised characters say too little to be called the same problem."""


class Likeness(StrEnum):
    """How a text was found again."""

    SAME = "same"
    CONTAINED = "contained"
    """Whole, inside a longer text such as a prompt."""
    NEAR = "near"


class Match(NamedTuple):
    """A known text found again."""

    name: str
    """Name it is known under."""
    likeness: Likeness
    share: float
    """1 for the same text; share of its 4-grams that are contained; Jaccard similarity for near texts."""


class TextIndex:
    """Known texts, to be found again in a stream of any length; memory grows with the known texts only."""

    def __init__(self) -> None:
        self._same: dict[str, list[int]] = defaultdict(list)
        self._grams = GramIndex()
        self._names: list[str] = []

    def add(self, name: str, text: str) -> None:
        """Adds a text under a name; blank texts are ignored."""
        key = normalised(text)
        if key:
            self._same[key].append(len(self._names))
            self._names.append(name)
            self._grams.add(word_grams(text))

    def find(self, text: str) -> list[Match]:
        """Returns the known texts that occur in `text`, each once, by its strongest likeness."""
        key = normalised(text)
        if len(key) < _SHORT and key not in self._same:
            return []
        same = self._same.get(key, [])
        matches = [Match(self._names[number], Likeness.SAME, 1.0) for number in same]
        grams = word_grams(text)
        for number, common in self._grams.common(grams):
            size = self._grams.sizes[number]
            near = common / (size + len(grams) - common)
            if number in same:
                continue
            if len(grams) > size >= 2 * GRAM and common >= CONTAINED * size:
                matches.append(Match(self._names[number], Likeness.CONTAINED, common / size))
            elif near >= NEAR:
                matches.append(Match(self._names[number], Likeness.NEAR, near))
        return matches


class Occurrence(NamedTuple):
    """A known text that occurs in a file."""

    match: Match
    place: str
    """Where in the file, for people: `line 3`."""


def scan(path: Path, index: TextIndex) -> Iterator[Occurrence]:
    """Yields where the known texts occur in a file of any columns, row by row; a text once a row.

    Raises:
        ProblemFileError: The file cannot be read as rows.
    """
    for row in read_rows(path):
        best: dict[str, Match] = {}
        for text in texts_of(row.data):
            for match in index.find(text):
                if match.name not in best or match.share > best[match.name].share:
                    best[match.name] = match
        for match in best.values():
            yield Occurrence(match, row.place)


def texts_of(value: object) -> Iterator[str]:
    """Yields every text inside nested values: whichever column or message a training file keeps its problems in."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from texts_of(item)
