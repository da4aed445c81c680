"""From the state of all slots to the tensors of one forward step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from calmstorm.reasoner.attention import Block, Chunk
from calmstorm.reasoner.cache import CacheShape
from calmstorm.reasoner.qwen import Step
from calmstorm.reasoner.rows import Rows

BLOCK = 32
"""Slots whose attention is computed together, up to the longest of them."""

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PlannedStep:
    """A step, and what it does to the rows."""

    step: Step
    fed: Index
    """Slots whose cache advances."""
    advance: Index
    """By how many tokens each."""
    drawing: Index
    """Slots that draw a token from the logits, in the order of the logits."""


def plan_step(rows: Rows, shape: CacheShape, chunk_tokens: int) -> PlannedStep:
    """Plans one step: a token for every decoding row, and up to `chunk_tokens` prefix tokens of rows being read in."""
    backlog = np.where(rows.active, rows.known - rows.cached, 0)
    decoding = np.flatnonzero(backlog == 1)
    span = int(decoding[-1]) + 1 if decoding.size else 0
    live = backlog[:span] == 1
    lengths = np.where(live, rows.cached[:span], 0)
    chunks, reading, counts = _chunks(rows, backlog, span, chunk_tokens)

    slots = np.concatenate([np.arange(span), *(np.full(c.count, c.slot) for c in chunks)])
    positions = np.concatenate([lengths, *(np.arange(c.start, c.start + c.count) for c in chunks)])
    columns = positions.copy()
    columns[:span][~live] = rows.tokens.shape[1]  # gaps store into the scratch column
    tokens = rows.tokens[slots, positions]
    tokens[:span][~live] = 0

    done = counts == backlog[reading]
    ends = np.array([c.offset + c.count - 1 for c in chunks], np.int64)
    wanted = np.concatenate([decoding, ends[done]])
    packed = torch.from_numpy(np.stack([tokens, slots, positions, columns]).astype(np.int64)).to(shape.device)
    step = Step(
        tokens=packed[0],
        slots=packed[1],
        positions=packed[2],
        columns=packed[3],
        blocks=_blocks(lengths, live, shape),
        chunks=tuple(chunks),
        wanted=None if len(wanted) == len(slots) else torch.from_numpy(wanted).to(shape.device),
    )
    fed = np.concatenate([decoding, reading])
    advance = np.concatenate([np.ones(len(decoding), np.int64), counts])
    return PlannedStep(step, fed, advance, np.concatenate([decoding, reading[done]]))


def _chunks(rows: Rows, backlog: Index, offset: int, budget: int) -> tuple[list[Chunk], Index, Index]:
    """Cuts chunks for the rows being read in, those nearest to completion first."""
    waiting = np.flatnonzero(backlog > 1)
    chunks: list[Chunk] = []
    for slot in waiting[np.argsort(backlog[waiting], kind="stable")]:
        count = min(int(backlog[slot]), budget)
        if count <= 0:
            break
        chunks.append(Chunk(offset, count, int(slot), int(rows.cached[slot])))
        offset += count
        budget -= count
    return chunks, np.array([c.slot for c in chunks], np.int64), np.array([c.count for c in chunks], np.int64)


def _blocks(lengths: Index, live: npt.NDArray[np.bool_], shape: CacheShape) -> tuple[Block, ...]:
    """Groups neighbouring decoding slots; a token attends to itself too, hence one more than is cached."""
    blocks = []
    for first in range(0, len(lengths), BLOCK):
        end = min(first + BLOCK, len(lengths))
        if not live[first:end].any():
            continue
        length = int(lengths[first:end].max()) + 1
        visible = torch.from_numpy(lengths[first:end]).to(shape.device)
        hidden = torch.arange(length, device=shape.device) > visible[:, None]
        mask = torch.zeros(hidden.shape, dtype=shape.dtype, device=shape.device).masked_fill_(hidden, float("-inf"))
        blocks.append(Block(first, end, length, mask[:, None, None]))
    return tuple(blocks)
