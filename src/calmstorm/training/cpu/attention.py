"""Causal attention for training on a CPU, in blocks of queries.

torch's fused CPU attention computes the whole square and is slow backwards; walking down the diagonal in blocks of 64
queries, each against the keys up to it, took 45 instead of 107 ms forward and backward (8 x 6 heads x 550 tokens x 32,
bfloat16, one thread). Padding must be on the right, where causality alone keeps it out of sight: no mask is read.
Sequences that are packed into one row are told apart by their boundaries. Of long sequences the weights of a block are
made again for the gradient: those of 16,384 tokens would take 0.5 GB a head and layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

NAME = "causal_blocks"
"""Name under which transformers knows this attention."""
BLOCK = 64
"""Queries per block."""
KEPT_WEIGHTS = 2**25
"""Attention weights of a layer that are kept for the gradient; 128 MiB in float32."""


def causal_blocks(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    cu_seq_lens_q: torch.Tensor | None = None,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attention as transformers calls it.

    Args:
        module: The attention layer; unused.
        query: (B, H, Q, D).
        key: (B, KV, K, D), with H a multiple of KV and K >= Q; the last query sees all keys.
        value: (B, KV, K, D).
        attention_mask: Ignored; see the module's docstring.
        scaling: Factor on the scores.
        dropout: Must be 0.
        cu_seq_lens_q: Where the sequences of one packed row begin, and its length (S + 1); None for whole rows.

    Returns:
        Output (B, Q, H, D), and None for the weights.
    """
    if dropout:
        raise ValueError(f"attention dropout is {dropout}; {NAME} knows none: set it to 0")
    key, value = key.to(query.dtype), value.to(query.dtype)
    if torch.is_autocast_enabled(query.device.type):
        half = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(half), key.to(half), value.to(half)
    bounds = [] if cu_seq_lens_q is None else cu_seq_lens_q.tolist()
    if len(bounds) <= 2:
        return _attend(query, key, value, scaling).transpose(1, 2).contiguous(), None
    parts = [
        _attend(query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], scaling)
        for start, end in pairwise(bounds)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float) -> torch.Tensor:
    """Returns the attention (B, H, Q, D) of queries (B, H, Q, D) to keys and values (B, KV, K, D) up to their own."""
    batch, heads, queries, width = query.shape
    kv_heads, keys = key.shape[1], key.shape[2]
    grouped = query.view(batch, kv_heads, heads // kv_heads, queries, width) * scaling
    later = torch.full((BLOCK, BLOCK), float("-inf"), dtype=query.dtype, device=query.device).triu(1)
    again = torch.is_grad_enabled() and batch * heads * queries * keys // 2 > KEPT_WEIGHTS
    parts = []
    for start in range(0, queries, BLOCK):
        end = min(start + BLOCK, queries)
        seen = keys - queries + end
        block = grouped[:, :, :, start:end], key[:, :, :seen], value[:, :, :seen], later
        parts.append(checkpoint(_block, *block, use_reentrant=False) if again else _block(*block))
    return torch.cat(parts, dim=3).view(batch, heads, queries, width)


def _block(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, later: torch.Tensor) -> torch.Tensor:
    """Returns the attention (B, KV, G, R, D) of queries (B, KV, G, R, D) to keys and values (B, KV, K, D)."""
    batch, kv_heads, group, rows, width = query.shape
    seen = key.shape[2]
    scores = query.reshape(batch, kv_heads, group * rows, width)
    scores = (scores @ key.transpose(-1, -2)).view(batch, kv_heads, group, rows, seen)
    diagonal = torch.nn.functional.pad(later[:rows, :rows], (seen - rows, 0))
    weights = torch.softmax(scores + diagonal, dim=-1).view(batch, kv_heads, group * rows, seen)
    return (weights @ value).view(batch, kv_heads, group, rows, width)


def _no_mask(*_: object, **__: object) -> None:
    """Causality needs no mask here."""


AttentionInterface.register(NAME, causal_blocks)
AttentionMaskInterface.register(NAME, _no_mask)


@contextmanager
def right_padded(model: PreTrainedModel) -> Iterator[None]:
    """Runs a model with `causal_blocks` while its batches are padded on the right; on a GPU it changes nothing."""
    before = model.config._attn_implementation
    if model.device.type != "cpu":
        yield
        return
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
