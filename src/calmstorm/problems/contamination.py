"""Whether one problem text occurs in another place: the same, inside a longer text, or nearly the same.

Texts are compared after normalisation, which takes away what copying and typesetting change: letter case, Unicode
variants, LaTeX commands, punctuation and white space. Near means a share of common word 4-grams. Not covered:
paraphrases and translations.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from calmstorm.problems.files import DATA_HEADING
from calmstorm.problems.rows import read_rows

NEAR = 0.6
"""Jaccard similarity of word 4-grams from which two texts count as near duplicates."""
CONTAINED = 0.95
"""Share of a text's word 4-grams found in a longer text from which it counts as contained there."""
_GRAM = 4
_SHORT = 20
"""Texts with fewer normalised characters say too little to be called the same problem."""
_LATEX = re.compile(r"\\[a-z]+")


def normalised(text: str) -> str:
    """Returns a text reduced to lower-case letters and digits, LaTeX commands dropped, data added by us left out."""
    return re.sub(r"[^a-z0-9]", "", _plain(text))


def text_key(text: str) -> str:
    """Returns a short name of a text that all its copies share: the first 12 hexadecimal digits of a SHA-1."""
    return hashlib.sha1(normalised(text).encode(), usedforsecurity=False).hexdigest()[:12]


def word_grams(text: str, length: int = _GRAM) -> frozenset[int]:
    """Returns hashes of the runs of `length` words in a text, valid in this process only."""
    words = re.findall(r"[a-z0-9]+", _plain(text))
    last = max(1, len(words) - length + 1) if words else 0
    return frozenset(hash(" ".join(words[i : i + length])) for i in range(last))


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """Returns the share of common members among all members, 0 for two empty sets."""
    common = len(one & other)
    return common / (len(one) + len(other) - common) if common else 0.0


def near_pairs(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the pairs of places in `texts` whose texts are near duplicates."""
    grams = [word_grams(text) for text in texts]
    holders: dict[int, list[int]] = defaultdict(list)
    found = []
    for number, own in enumerate(grams):
        common: dict[int, int] = defaultdict(int)
        for gram in own:
            for other in holders[gram]:
                common[other] += 1
            holders[gram].append(number)
        found += [
            (other, number)
            for other, count in sorted(common.items())
            if count >= NEAR * max(len(own), len(grams[other])) and jaccard(own, grams[other]) >= NEAR
        ]
    return found


def _plain(text: str) -> str:
    return _LATEX.sub(" ", unicodedata.normalize("NFKC", text.split(DATA_HEADING)[0]).lower())


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
        self._grams: dict[int, list[int]] = defaultdict(list)
        self._names: list[str] = []
        self._sizes: list[int] = []

    def add(self, name: str, text: str) -> None:
        """Adds a text under a name; blank texts are ignored."""
        key = normalised(text)
        if not key:
            return
        number = len(self._names)
        grams = word_grams(text)
        self._names.append(name)
        self._sizes.append(len(grams))
        self._same[key].append(number)
        for gram in grams:
            self._grams[gram].append(number)

    def find(self, text: str) -> list[Match]:
        """Returns the known texts that occur in `text`, each once, by its strongest likeness."""
        key = normalised(text)
        if len(key) < _SHORT and key not in self._same:
            return []
        same = set(self._same.get(key, ()))
        found = [Match(self._names[number], Likeness.SAME, 1.0) for number in sorted(same)]
        grams = word_grams(text)
        hits = Counter(number for gram in grams for number in self._grams.get(gram, ()))
        for number, common in sorted(hits.items()):
            size = self._sizes[number]
            near = common / (size + len(grams) - common)
            if number in same:
                continue
            if len(grams) > size >= 2 * _GRAM and common >= CONTAINED * size:
                found.append(Match(self._names[number], Likeness.CONTAINED, common / size))
            elif near >= NEAR:
                found.append(Match(self._names[number], Likeness.NEAR, near))
        return found


class Finding(NamedTuple):
    """A known text that occurs in a file."""

    match: Match
    place: str
    """Where in the file, for people: `line 3`."""


def scan(path: Path, index: TextIndex) -> Iterator[Finding]:
    """Yields where the known texts occur in a file of any columns, row by row; a text once a row.

    Raises:
        ProblemFileError: the file cannot be read as rows.
    """
    for row in read_rows(path):
        best: dict[str, Match] = {}
        for text in texts_of(row.data):
            for match in index.find(text):
                if match.name not in best or match.share > best[match.name].share:
                    best[match.name] = match
        for match in best.values():
            yield Finding(match, row.place)


def texts_of(value: object) -> Iterator[str]:
    """Yields every text inside nested values: whichever column or message a training file keeps its problems in."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from texts_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_of(item)
