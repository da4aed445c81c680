"""Keys and values of many sequences, one slot each.

A slot is a row of one dense tensor per layer, so that a step over neighbouring slots reads the cache in place, without
gathering. Positions beyond what a sequence has written are masked, never read; the tensors start as zeros because a
masked NaN would still spoil a weighted sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class KVCacheSpec:
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


class KVCache:
    """Dense keys and values: per layer `(slots, kv_heads, capacity + 1, head_dim)`.

    The extra last position is scratch: batch entries that only fill a gap between slots write there.
    """

    def __init__(self, spec: KVCacheSpec, slots: int, capacity: int) -> None:
        self.spec = spec
        self.keys = [self._empty(slots, capacity) for _ in range(spec.layers)]
        self.values = [self._empty(slots, capacity) for _ in range(spec.layers)]

    def _empty(self, slots: int, capacity: int) -> torch.Tensor:
        spec = self.spec
        size = (slots, spec.kv_heads, capacity + 1, spec.head_dim)
        if spec.device.type != "cpu":
            return torch.zeros(size, dtype=spec.dtype, device=spec.device)
        # numpy leaves untouched pages to the system, which gives zeros on first use; torch would write them all now.
        count = slots * spec.kv_heads * (capacity + 1) * spec.head_dim
        return torch.from_numpy(np.zeros(count * spec.dtype.itemsize, np.uint8)).view(spec.dtype).view(size)

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

    def swap(self, first: int, second: int, length: int) -> None:
        """Exchanges the first `length` positions of two slots."""
        for tensor in (*self.keys, *self.values):
            kept = tensor[first, :, :length].clone()
            tensor[first, :, :length] = tensor[second, :, :length]
            tensor[second, :, :length] = kept

    def resize(self, slots: int, capacity: int, kept: Iterable[tuple[int, int]]) -> None:
        """Changes both extents, layer by layer.

        Args:
            slots: New number of slots.
            capacity: New number of positions.
            kept: What the new slots take over, in their order: an old slot and how many of its positions.
        """
        moves = [(target, source, length) for target, (source, length) in enumerate(kept) if length]
        for tensors in (self.keys, self.values):
            for layer, old in enumerate(tensors):
                new = self._empty(slots, capacity)
                for target, source, length in moves:
                    new[target, :, :length] = old[source, :, :length]
                tensors[layer] = new
