"""From the state of all slots to the tensors of one forward step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from calmstorm.reasoner.engine.attention import DecodeBlock, PrefillChunk
from calmstorm.reasoner.engine.kv_cache import KVCacheSpec
from calmstorm.reasoner.engine.sequences import Sequences

BLOCK_SLOTS = 32
"""Slots whose attention is computed together, up to the longest of them."""

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """One forward step over T tokens, and what it does to the sequences."""

    tokens: torch.Tensor
    """`(T,)` token ids."""
    slots: torch.Tensor
    """`(T,)` slot each token's keys and values go to."""
    positions: torch.Tensor
    """`(T,)` position of each token in its sequence."""
    columns: torch.Tensor
    """`(T,)` where in the slot to store: the position, or the scratch column."""
    blocks: tuple[DecodeBlock, ...]
    chunks: tuple[PrefillChunk, ...]
    logits_at: torch.Tensor | None
    """`(N,)` entries of the batch whose logits are wanted; None means all."""
    advancing: Index
    """Slots whose cache advances."""
    advance: Index
    """By how many tokens each."""
    sampled: Index
    """`(N,)` slots that draw a token from the logits, in the order of the logits."""


def plan_batch(sequences: Sequences, spec: KVCacheSpec, prefill_tokens: int) -> Batch:
    """Plans one step: a token for every decoding sequence, and up to `prefill_tokens` of prefixes not yet cached."""
    backlog = np.where(sequences.running, sequences.length - sequences.cached, 0)
    decoding = np.flatnonzero(backlog == 1)
    span = int(decoding[-1]) + 1 if decoding.size else 0
    live = backlog[:span] == 1
    lengths = np.where(live, sequences.cached[:span], 0)
    chunks = _prefill_chunks(sequences, backlog, span, prefill_tokens)
    prefilling = np.array([chunk.slot for chunk in chunks], np.int64)
    counts = np.array([chunk.count for chunk in chunks], np.int64)

    slots = np.concatenate([np.arange(span), *(np.full(chunk.count, chunk.slot) for chunk in chunks)])
    positions = np.concatenate([lengths, *(np.arange(chunk.start, chunk.start + chunk.count) for chunk in chunks)])
    columns = positions.copy()
    columns[:span][~live] = sequences.capacity  # gaps store into the scratch column
    tokens = sequences.tokens[slots, positions]
    tokens[:span][~live] = 0

    complete = counts == backlog[prefilling]
    ends = np.array([chunk.offset + chunk.count - 1 for chunk in chunks], np.int64)
    logits_at = np.concatenate([decoding, ends[complete]])
    packed = torch.from_numpy(np.stack([tokens, slots, positions, columns]).astype(np.int64)).to(spec.device)
    return Batch(
        tokens=packed[0],
        slots=packed[1],
        positions=packed[2],
        columns=packed[3],
        blocks=_decode_blocks(lengths, live, spec),
        chunks=tuple(chunks),
        logits_at=None if len(logits_at) == len(slots) else torch.from_numpy(logits_at).to(spec.device),
        advancing=np.concatenate([decoding, prefilling]),
        advance=np.concatenate([np.ones(len(decoding), np.int64), counts]),
        sampled=np.concatenate([decoding, prefilling[complete]]),
    )


def _prefill_chunks(sequences: Sequences, backlog: Index, offset: int, budget: int) -> list[PrefillChunk]:
    """Cuts chunks of `budget` tokens in all, of the sequences nearest to the end of their prefill first."""
    waiting = np.flatnonzero(backlog > 1)
    chunks: list[PrefillChunk] = []
    for slot in waiting[np.argsort(backlog[waiting], kind="stable")]:
        count = min(int(backlog[slot]), budget)
        if count <= 0:
            break
        chunks.append(PrefillChunk(offset, count, int(slot), int(sequences.cached[slot])))
        offset += count
        budget -= count
    return chunks


def _decode_blocks(lengths: Index, live: npt.NDArray[np.bool_], spec: KVCacheSpec) -> tuple[DecodeBlock, ...]:
    """Groups neighbouring decoding slots; a token attends to itself too, hence one more than is cached."""
    blocks = []
    for first in range(0, len(lengths), BLOCK_SLOTS):
        end = min(first + BLOCK_SLOTS, len(lengths))
        if not live[first:end].any():
            continue
        length = int(lengths[first:end].max()) + 1
        visible = torch.from_numpy(lengths[first:end]).to(spec.device)
        hidden = torch.arange(length, device=spec.device) > visible[:, None]
        mask = torch.zeros(hidden.shape, dtype=spec.dtype, device=spec.device).masked_fill_(hidden, float("-inf"))
        blocks.append(DecodeBlock(first, end, length, mask[:, None, None]))
    return tuple(blocks)
