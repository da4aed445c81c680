"""From sequences to the rows of optimizer steps: order, packing, shares of processes.

Every step has the same sequences however they are packed and shared, so that its loss, the mean over all learned tokens
of the step, is the same. What is missing from the last step, or from a process's share, are fillers that teach nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from calmstorm.settings import SftSettings
from calmstorm.training.encode import IGNORED, Example
from calmstorm.training.ranks import world_size

BUCKET_BATCHES = 16
"""Batches among which sequences are sorted by length: enough to save most padding, few enough to keep the shuffle."""

Row = tuple[Example, ...]
"""Sequences that go through the model together, without seeing each other."""

FILLER = Example(input_ids=(0, 0), labels=(IGNORED, IGNORED))


@dataclass(frozen=True)
class Schedule:
    """The rows of a whole training."""

    rows: list[Row]
    """In order; those of a step one after the other."""
    rows_per_pass: int
    """Rows that a process takes through the model at once."""
    passes_per_step: int
    """Of each process."""

    @property
    def longest(self) -> int:
        """Tokens of the longest pass, padding included."""
        return self.rows_per_pass * max(sum(len(example.input_ids) for example in row) for row in self.rows)


def schedule(examples: Sequence[Example], rows: int, settings: SftSettings, seed: int) -> Schedule:
    """Returns the rows of a training.

    Args:
        examples: What is learned.
        rows: Sequences of the whole training; more than there are means several epochs.
        settings: Sizes, and whether sequences are packed.
        seed: Of the order.
    """
    order = bucketed_order([len(example.input_ids) for example in examples], rows, settings.batch, seed)
    steps = [
        [examples[index] for index in order[at : at + settings.batch]] for at in range(0, len(order), settings.batch)
    ]
    processes = world_size()
    if settings.packing:
        packed = [pack(step, settings.sequence_tokens) for step in steps]
        passes = max(math.ceil(len(step) / processes) for step in packed)
        filled = [row for step in packed for row in (*step, *[(FILLER,)] * (passes * processes - len(step)))]
        return Schedule(filled, 1, passes)
    share = settings.batch // processes
    at_once = max(size for size in range(1, settings.micro_batch + 1) if share % size == 0)
    single: list[Row] = [(example,) for step in steps for example in step]
    if processes > 1 or settings.sharding != "none":
        single += [(FILLER,)] * (-len(single) % settings.batch)
    return Schedule(single, at_once, share // at_once)


def pack(examples: Sequence[Example], capacity: int) -> list[Row]:
    """Puts sequences into as few rows of at most `capacity` tokens as the longest-first rule finds."""
    rows: list[tuple[int, list[Example]]] = []
    for example in sorted(examples, key=lambda example: -len(example.input_ids)):
        size = len(example.input_ids)
        place = next((place for place, (taken, _) in enumerate(rows) if taken + size <= capacity), None)
        if place is None:
            rows.append((size, [example]))
        else:
            rows[place] = rows[place][0] + size, [*rows[place][1], example]
    return [tuple(row) for _, row in rows]


def bucketed_order(lengths: Sequence[int], rows: int, batch: int, seed: int) -> list[int]:
    """Returns the order in which sequences are used: shuffled epoch by epoch, neighbours of like length.

    Args:
        lengths: Tokens of each sequence.
        rows: How many indexes to return; more than there are sequences means several epochs.
        batch: Sequences per optimizer step.
        seed: Of the shuffle.
    """
    shuffle = random.Random(seed)
    stream: list[int] = []
    while len(stream) < rows:
        epoch = list(range(len(lengths)))
        shuffle.shuffle(epoch)
        stream += epoch[: rows - len(stream)]
    order: list[int] = []
    for start in range(0, rows, batch * BUCKET_BATCHES):
        chunk = sorted(stream[start : start + batch * BUCKET_BATCHES], key=lengths.__getitem__)
        batches = [chunk[at : at + batch] for at in range(0, len(chunk), batch)]
        ragged = batches.pop() if len(batches[-1]) < batch else []  # only the last batch of all may be smaller
        shuffle.shuffle(batches)
        order += [index for full in batches for index in full] + ragged
    return order
