"""What makes two problem texts the same, or nearly the same.

Texts are compared after normalisation, which takes away what copying and typesetting change: letter case, Unicode
variants, LaTeX commands, punctuation and white space. Near means a share of common word 4-grams. Not covered:
paraphrases and translations.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

DATA_HEADING = "\n\nData:\n"
"""Between a text and the numbers it leaves to `sample.input`."""
NEAR = 0.6
"""Jaccard similarity of word 4-grams from which two texts count as near duplicates."""
GRAM = 4
"""Words of a run that texts are compared by."""
_LATEX = re.compile(r"\\[a-z]+")


def normalised(text: str) -> str:
    """Returns a text reduced to lower-case letters and digits, LaTeX commands dropped, data added by us left out."""
    return re.sub(r"[^a-z0-9]", "", _plain(text))


def text_key(text: str) -> str:
    """Returns a short name of a text that all its copies share: the first 12 hexadecimal digits of a SHA-1."""
    return hashlib.sha1(normalised(text).encode(), usedforsecurity=False).hexdigest()[:12]


def word_grams(text: str, length: int = GRAM) -> frozenset[int]:
    """Returns hashes of the runs of `length` words in a text, valid in this process only."""
    words = re.findall(r"[a-z0-9]+", _plain(text))
    last = max(1, len(words) - length + 1) if words else 0
    return frozenset(hash(" ".join(words[i : i + length])) for i in range(last))


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """Returns the share of common members among all members, 0 for two empty sets."""
    common = len(one & other)
    return common / (len(one) + len(other) - common) if common else 0.0


class GramIndex:
    """Sets of grams by number, and how much a new set has in common with each."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        """Grams of each set."""
        self._holders: dict[int, list[int]] = defaultdict(list)

    def add(self, grams: Collection[int]) -> None:
        """Adds a set under the next number."""
        for gram in grams:
            self._holders[gram].append(len(self.sizes))
        self.sizes.append(len(grams))

    def common(self, grams: Collection[int]) -> list[tuple[int, int]]:
        """Returns (number, grams in common) of the sets that share any, in the order of their numbers."""
        return sorted(Counter(number for gram in grams for number in self._holders.get(gram, ())).items())


def near_pairs(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Returns the pairs of places in `texts` whose texts are near duplicates."""
    index = GramIndex()
    pairs = []
    for number, text in enumerate(texts):
        grams = word_grams(text)
        for other, common in index.common(grams):
            if common / (index.sizes[other] + len(grams) - common) >= NEAR:
                pairs.append((other, number))
        index.add(grams)
    return pairs


def _plain(text: str) -> str:
    return _LATEX.sub(" ", unicodedata.normalize("NFKC", text.split(DATA_HEADING)[0]).lower())
