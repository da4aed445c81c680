"""The state of every slot: the tokens of its sequence, how far they are cached, and how its next tokens are drawn.

Everything is an array over slots, so that a step touches all sequences at once instead of one Python object at a time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]


class Sequences:
    """State of all slots; every array has one entry (or row) per slot.

    A slot is *running* while a request decodes in it, *retained* while it holds cached tokens that no request uses,
    else free. `cached <= length` always; a running sequence whose backlog `length - cached` is 1 decodes, one with more
    is in its prefill.
    """

    def __init__(self, slots: int, capacity: int) -> None:
        self.tokens: Tokens = np.zeros((slots, capacity), np.int32)
        self.logprobs: npt.NDArray[np.float32] = np.zeros((slots, capacity), np.float32)
        self.length = np.zeros(slots, np.int64)
        """Tokens of the sequence, prefix and drawn."""
        self.cached = np.zeros(slots, np.int64)
        """Leading tokens whose keys and values are in the cache."""
        self.prefix_length = np.zeros(slots, np.int64)
        self.max_length = np.zeros(slots, np.int64)
        """Length at which the request is out of tokens."""
        self.running = np.zeros(slots, np.bool_)
        self.ended = np.zeros(slots, np.bool_)
        """Retained after the end of a turn or of the token budget: first to be given away."""
        self.last_step = np.zeros(slots, np.int64)
        """Step at which the slot was last used."""
        self.stream = np.zeros(slots, np.uint64)
        """Key of the random stream."""
        self.temperature = np.zeros(slots, np.float32)
        self.top_p = np.ones(slots, np.float32)
        self.top_k = np.zeros(slots, np.int64)
        self.min_p = np.zeros(slots, np.float32)

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.length)

    @property
    def capacity(self) -> int:
        """Tokens that a slot has room for."""
        return int(self.tokens.shape[1])

    def drawn(self, slot: int) -> slice:
        """Returns where the drawn tokens of a slot stand."""
        return slice(int(self.prefix_length[slot]), int(self.length[slot]))

    def shared_prefix(self, tokens: Tokens) -> npt.NDArray[np.int64]:
        """Returns how many leading tokens each slot has in common with `tokens`."""
        width = min(len(tokens), self.capacity, int(self.length.max(initial=0)))
        if width == 0:
            return np.zeros(self.slots, np.int64)
        differs = self.tokens[:, :width] != tokens[:width]
        shared: npt.NDArray[np.int64] = np.minimum(np.where(differs.any(1), differs.argmax(1), width), self.length)
        return shared

    def has_empty_slot(self) -> bool:
        """Returns whether a slot holds nothing, not even cached tokens of a request that is done."""
        return bool((~self.running & (self.cached == 0)).any())

    def free_slot(self, keep: int | None = None) -> int | None:
        """Returns the slot to give to a new request: an empty one, else the least useful retained one; None if none.

        Args:
            keep: A slot that must not be given away, because it is about to be copied from.
        """
        usable = ~self.running
        if keep is not None:
            usable[keep] = False
        candidates = np.flatnonzero(usable)
        if not candidates.size:
            return None
        empty = candidates[self.cached[candidates] == 0]
        if empty.size:
            return int(empty[0])
        order = np.lexsort((self.last_step[candidates], ~self.ended[candidates]))
        return int(candidates[order[0]])

    def swap(self, first: int, second: int) -> None:
        """Exchanges everything two slots hold."""
        for array in vars(self).values():
            array[[first, second]] = array[[second, first]]

    def resized(self, slots: int, capacity: int, order: list[int]) -> Sequences:
        """Returns a copy with other extents; its slot `i` holds what slot `order[i]` holds here, as far as it fits.

        Only retained sequences may be longer than the new capacity.
        """
        result = Sequences(slots, capacity)
        width = min(capacity, self.capacity)
        for name, array in vars(self).items():
            target = getattr(result, name)
            if array.ndim == 2:
                target[: len(order), :width] = array[order, :width]
            else:
                target[: len(order)] = array[order]
        result.length = np.minimum(result.length, capacity)
        result.cached = np.minimum(result.cached, capacity)
        return result
