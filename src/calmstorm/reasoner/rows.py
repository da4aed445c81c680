"""What the engine knows about each slot, on the host: its tokens, how far they are cached, and who is using it.

Everything is an array over slots, so that a step touches all rows at once instead of one Python object at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]


class Rows:
    """State of all slots; every array has one entry (or row) per slot.

    A slot is *active* while a request decodes in it, *retained* while it holds cached tokens that no request uses, else
    free. `cached <= known` always; an active row whose backlog `known - cached` is 1 decodes, one with more is being
    read in.
    """

    def __init__(self, slots: int, capacity: int) -> None:
        self.tokens: Tokens = np.zeros((slots, capacity), np.int32)
        self.logprobs: npt.NDArray[np.float32] = np.zeros((slots, capacity), np.float32)
        self.known = np.zeros(slots, np.int64)
        """Tokens of the sequence, prefix and drawn."""
        self.cached = np.zeros(slots, np.int64)
        """Leading tokens whose keys and values are in the cache."""
        self.start = np.zeros(slots, np.int64)
        """Where the drawn tokens begin."""
        self.end = np.zeros(slots, np.int64)
        """Number of known tokens at which the request is out of tokens."""
        self.active = np.zeros(slots, np.bool_)
        self.spent = np.zeros(slots, np.bool_)
        """Retained after the end of a turn: first to be given away."""
        self.touched = np.zeros(slots, np.int64)
        """Step at which the row was last used."""
        self.key = np.zeros(slots, np.uint64)
        self.temperature = np.zeros(slots, np.float32)
        self.top_p = np.ones(slots, np.float32)
        self.stop_set = np.zeros(slots, np.int64)

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.known)

    def match(self, prefix: Tokens, column: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Returns how many leading tokens of `prefix` each slot shares, at most `column` (`known` or `cached`)."""
        width = min(len(prefix), self.tokens.shape[1], int(column.max(initial=0)))
        if width == 0:
            return np.zeros(self.slots, np.int64)
        differs = self.tokens[:, :width] != prefix[:width]
        shared: npt.NDArray[np.int64] = np.minimum(np.where(differs.any(1), differs.argmax(1), width), column)
        return shared

    def free_slot(self, keep: int = -1) -> int:
        """Returns the slot to give to a new request: an empty one, else the least useful retained one; -1 if none.

        Args:
            keep: a slot that must not be given away, because it is about to be copied from.
        """
        usable = ~self.active
        if keep >= 0:
            usable[keep] = False
        candidates = np.flatnonzero(usable)
        if not candidates.size:
            return -1
        empty = candidates[self.cached[candidates] == 0]
        if empty.size:
            return int(empty[0])
        order = np.lexsort((self.touched[candidates], ~self.spent[candidates]))
        return int(candidates[order[0]])

    def swap(self, a: int, b: int) -> None:
        """Exchanges everything two slots hold."""
        for array in vars(self).values():
            array[[a, b]] = array[[b, a]]

    def resized(self, slots: int, capacity: int) -> Rows:
        """Returns a copy with other extents; what fits is kept. No row beyond the new number of slots may be active."""
        result = Rows(slots, capacity)
        rows, width = min(slots, self.slots), min(capacity, self.tokens.shape[1])
        for name, array in vars(self).items():
            target = getattr(result, name)
            if array.ndim == 2:
                target[:rows, :width] = array[:rows, :width]
            else:
                target[:rows] = array[:rows]
        # A retained row longer than the new capacity keeps what fits.
        result.known = np.minimum(result.known, capacity)
        result.cached = np.minimum(result.cached, capacity)
        return result
