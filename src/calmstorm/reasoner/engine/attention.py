"""Attention of a step over the `KVCache`: one query per sequence that decodes, many per sequence in its prefill.

Heads that share keys (grouped-query attention) stand as rows of one small product, so that nothing is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

Floats = npt.NDArray[np.float32]

PRODUCT_SIZE = 1024
"""Results of one small product on a CPU."""


@dataclass(frozen=True)
class DecodeBlock:
    """Neighbouring slots that decode one token each; entry i of the batch belongs to slot i."""

    first: int
    end: int
    length: int
    """Positions attended to: those of the longest sequence."""
    mask: torch.Tensor
    """`(end - first, 1, 1, length)`: 0 or -inf, added to the scores."""


@dataclass(frozen=True)
class PrefillChunk:
    """Consecutive prefix tokens of one sequence."""

    offset: int
    """Where they stand in the batch."""
    count: int
    slot: int
    start: int
    """Position of the first of them in its sequence."""


def attend_decode(
    block: DecodeBlock, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scaling: float, out: torch.Tensor
) -> None:
    """Attention of decoding sequences: each one query position against everything before it.

    Args:
        block: Which slots.
        query: `(T, heads, head_dim)` of the whole batch.
        keys: `(slots, kv_heads, capacity + 1, head_dim)` of the layer.
        values: Like `keys`.
        scaling: Factor of the scores.
        out: Like `query`; the block's entries are written.
    """
    rows, kv_heads, head_dim = slice(block.first, block.end), keys.shape[1], query.shape[2]
    grouped = (block.end - block.first, kv_heads, query.shape[1] // kv_heads, head_dim)
    q = query[rows].reshape(grouped) * scaling
    k, v = keys[rows, :, : block.length], values[rows, :, : block.length]
    target = out[rows].view(grouped)
    if q.device.type == "cpu" and q.dtype == torch.float32:
        scores = torch.from_numpy(_scores(q.numpy(), k.numpy()))
        weights = scores.add_(block.mask).softmax(-1)
        np.matmul(weights.numpy(), v.numpy(), out=target.numpy())
        return
    # Keys first: several times faster in bfloat16 on a CPU. The softmax is done in float32.
    scores = torch.matmul(k, q.transpose(2, 3)).transpose(2, 3)
    weights = torch.softmax(scores + block.mask, -1, dtype=torch.float32).to(q.dtype)
    target.copy_(torch.matmul(weights, v))


def _scores(query: Floats, keys: Floats) -> Floats:
    """Products `(rows, kv_heads, group, length)` of queries `(.., group, head_dim)` and keys `(.., length, head_dim)`.

    numpy's BLAS does products this small about twice as fast as torch's on AMD processors, as fast as the keys can be
    read, but falls off threefold beyond about 1200 results each: hence piece by piece.
    """
    rows, kv_heads, group, _ = query.shape
    length = keys.shape[2]
    scores = np.empty((rows, kv_heads, group, length), np.float32)
    piece = max(16, PRODUCT_SIZE // group)
    for start in range(0, length, piece):
        end = start + piece
        np.matmul(query, keys[:, :, start:end].swapaxes(2, 3), out=scores[..., start:end])
    return scores


def attend_prefill(
    chunk: PrefillChunk,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float,
    out: torch.Tensor,
) -> None:
    """Attention of a prefill: each query position attends to itself and everything before.

    The arguments are those of `attend_decode`.
    """
    rows = slice(chunk.offset, chunk.offset + chunk.count)
    length = chunk.start + chunk.count
    mask = None
    if chunk.start:
        mask = torch.ones(chunk.count, length, dtype=torch.bool, device=query.device).tril(chunk.start)
    result = functional.scaled_dot_product_attention(
        query[rows].transpose(0, 1)[None],
        keys[chunk.slot, :, :length][None],
        values[chunk.slot, :, :length][None],
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=True,
    )
    out[rows] = result[0].transpose(0, 1)
