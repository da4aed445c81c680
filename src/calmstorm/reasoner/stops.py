"""Finding stop strings in what was just drawn, without decoding every row at every step.

A stop string can only be completed by a token whose text contains its last character (or bytes of an unfinished
character). That is looked up per token id, learnt as tokens turn up; only rows that pass are decoded, and only their
tail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Decode = Callable[[Sequence[int]], str]

_UNKNOWN, _NO, _MAYBE = -1, 0, 1


class StopTable:
    """All sets of stop strings that requests have come with."""

    def __init__(self, decode: Decode, vocabulary: int) -> None:
        self._decode = decode
        self._vocabulary = vocabulary
        self._index: dict[tuple[str, ...], int] = {}
        self._sets: list[tuple[str, ...]] = []
        self._windows: list[int] = []
        self._may_complete: list[npt.NDArray[np.int8]] = []

    def index(self, stop: Sequence[str]) -> int:
        """Returns the number of this set of stop strings."""
        key = tuple(stop)
        if key not in self._index:
            self._index[key] = len(self._sets)
            self._sets.append(key)
            # Every token adds at least a byte; a few more, so that a stop string may begin inside a token.
            self._windows.append(max((len(s.encode()) for s in key), default=0) + 4)
            self._may_complete.append(np.full(self._vocabulary, _UNKNOWN if key else _NO, np.int8))
        return self._index[key]

    def candidates(self, sets: npt.NDArray[np.int64], tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Returns for each row whether its newest token may complete a stop string of its set."""
        result = np.zeros(len(tokens), np.bool_)
        for number in np.unique(sets):
            rows = np.flatnonzero(sets == number)
            table = self._may_complete[number]
            for token in tokens[rows[table[tokens[rows]] == _UNKNOWN]]:
                table[token] = self._look(int(token), self._sets[number])
            result[rows] = table[tokens[rows]] == _MAYBE
        return result

    def completed(self, number: int, drawn: Sequence[int]) -> bool:
        """Returns whether the tail of the drawn tokens contains a stop string of this set."""
        tail = self._decode(drawn[-self._windows[number] :])
        return any(s in tail for s in self._sets[number])

    def window(self, number: int) -> int:
        """Returns how many of the newest tokens `completed` looks at."""
        return self._windows[number]

    def _look(self, token: int, stop: tuple[str, ...]) -> int:
        text = self._decode([token])
        return _MAYBE if "\ufffd" in text or any(s[-1] in text for s in stop) else _NO
