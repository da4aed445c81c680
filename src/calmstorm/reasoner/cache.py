"""Keys and values of many sequences, one slot each: the memory behind `calmstorm.reasoner.engine`.

A slot is a row of one dense tensor per layer, so that a step over neighbouring slots reads the cache in place, without
gathering. Positions beyond what a row has written are masked, never read; the tensors start as zeros because a masked
NaN would still poison a weighted sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class CacheShape:
    """What one position of one sequence needs."""

    layers: int
    kv_heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_position(self) -> int:
        """Bytes of keys and values that one token of one sequence takes, over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.dtype.itemsize


class SlotCache:
    """Dense keys and values: per layer `(slots, kv_heads, capacity + 1, head_dim)`.

    The extra last position is scratch: rows that only fill a gap in a step write there.
    """

    def __init__(self, shape: CacheShape, slots: int, capacity: int) -> None:
        self.shape = shape
        self.slots = slots
        self.capacity = capacity
        self.keys = [self._empty(slots, capacity) for _ in range(shape.layers)]
        self.values = [self._empty(slots, capacity) for _ in range(shape.layers)]

    def _empty(self, slots: int, capacity: int) -> torch.Tensor:
        shape = self.shape
        size = (slots, shape.kv_heads, capacity + 1, shape.head_dim)
        if shape.device.type != "cpu":
            return torch.zeros(size, dtype=shape.dtype, device=shape.device)
        # numpy leaves untouched pages to the system, which gives zeros on first use; torch would write them all now.
        count = slots * shape.kv_heads * (capacity + 1) * shape.head_dim
        return torch.from_numpy(np.zeros(count * shape.dtype.itemsize, np.uint8)).view(shape.dtype).view(size)

    def write(
        self, layer: int, slots: torch.Tensor, positions: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Stores keys and values `(T, kv_heads, head_dim)` at `slots (T,)`, `positions (T,)`."""
        self.keys[layer][slots, :, positions] = keys
        self.values[layer][slots, :, positions] = values

    def copy(self, source: int, target: int, length: int) -> None:
        """Copies the first `length` positions of one slot to another."""
        for tensor in (*self.keys, *self.values):
            tensor[target, :, :length] = tensor[source, :, :length]

    def swap(self, a: int, b: int, length: int) -> None:
        """Exchanges the first `length` positions of two slots."""
        for tensor in (*self.keys, *self.values):
            kept = tensor[a, :, :length].clone()
            tensor[a, :, :length] = tensor[b, :, :length]
            tensor[b, :, :length] = kept

    def resize(self, slots: int, capacity: int, used: int) -> None:
        """Changes both extents, layer by layer; of the first `used` slots what fits is kept."""
        rows, length = min(slots, used), min(capacity, self.capacity)
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                new = self._empty(slots, capacity)
                new[:rows, :, :length] = old[:rows, :, :length]
                tensors[layer] = new
        self.slots, self.capacity = slots, capacity
