"""Finding stop strings in what was just drawn, without decoding every sequence at every step.

A stop string can only be completed by a token whose text contains its last character (or bytes of an unfinished
character). That is remembered per token id; only sequences that pass are decoded, and only their tail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]


class StopStrings:
    """The stop strings of a request.

    Attributes:
        window: How many of the newest tokens may hold a stop string. Every token adds at least a byte; a few more,
            because a stop string may begin inside a token.
    """

    def __init__(self, strings: Sequence[str], decode: Decode) -> None:
        self._strings = tuple(strings)
        self._decode = decode
        self._may_complete: dict[int, bool] = {}
        self.window = max((len(string.encode()) for string in strings), default=0) + 4

    def may_complete(self, token: int) -> bool:
        """Returns whether this token, as the newest, may complete a stop string."""
        if token not in self._may_complete:
            text = self._decode([token])
            self._may_complete[token] = "\ufffd" in text or any(string[-1] in text for string in self._strings)
        return self._may_complete[token]

    def occur_in(self, tail: Sequence[int]) -> bool:
        """Returns whether the newest drawn tokens, at most `window` of them, contain a stop string."""
        text = self._decode(tail)
        return any(string in text for string in self._strings)
