"""How the rollouts of an update are spread over processes and over forward passes.

Every process takes whole problems of each mini-batch, and as many passes as the others: engines that shard weights,
and those that average gradients, count passes. A pass holds rows of one problem and of like length; rows that teach
nothing fill what is left and are not run.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from calmstorm.errors import InputError
from calmstorm.settings import RlSettings


def passes_per_update(settings: RlSettings, processes: int, rows_per_problem: int | None = None) -> int:
    """Returns how many forward and backward passes each process makes for an update.

    Args:
        settings: With the sizes.
        processes: That train together.
        rows_per_problem: Where that is not `rl.samples`: an annotated trajectory is a row more.

    Raises:
        InputError: The sizes do not divide.
    """
    problems, micro_batch = settings.mini_batch, settings.micro_batch
    samples = rows_per_problem or settings.samples
    if problems % processes:
        raise InputError(
            f"rl.mini_batch is {problems}; each of the {processes} processes takes whole problems, so it must be a "
            f"multiple of {processes}: set rl.mini_batch and rl.prompts_per_step to multiples of {processes}"
        )
    rows = problems * samples // processes
    if rows % micro_batch:
        divisor = max(size for size in range(1, min(micro_batch, rows) + 1) if rows % size == 0)
        raise InputError(
            f"rl.micro_batch is {micro_batch}; it must divide the {rows} rollouts that a process takes through an "
            f"optimizer step ({problems} problems x {samples} samples / {processes}): set rl.micro_batch to {divisor}"
        )
    return rows // micro_batch


def spread(prompts: int, settings: RlSettings, processes: int) -> list[int]:
    """Returns the order in which prompts are laid out, so that the trainer's even cut gives every process its own.

    Args:
        prompts: Of the whole training; steps follow each other.
        settings: With sizes that `passes_per_update` takes.
        processes: Each gets one block of every step, in which its shares of the mini-batches follow each other.
    """
    step, mini = settings.prompts_per_step, settings.mini_batch
    share = mini // processes
    return [
        start + update * mini + process * share + place
        for start in range(0, prompts, step)
        for process in range(processes)
        for update in range(step // mini)
        for place in range(share)
    ]


def arrange(
    groups: Sequence[Hashable], lengths: Sequence[int], teaches: Sequence[bool], micro_batch: int
) -> list[list[int]]:
    """Returns the rows of each pass: `micro_batch` of them, longest passes first.

    Where it can be, a pass has rows of one group only, which it can where `micro_batch` divides the group.

    Args:
        groups: What the rows of a problem have in common; as many as there are rows.
        lengths: Tokens of each row.
        teaches: Whether a row is to be run; the others fill passes up.
        micro_batch: Divides the number of rows.
    """
    count = len(groups) // micro_batch
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        if teaches[row]:
            members.setdefault(group, []).append(row)
    ordered = [sorted(rows, key=lengths.__getitem__, reverse=True) for rows in members.values()]
    passes = [rows[at : at + micro_batch] for rows in ordered for at in range(0, len(rows), micro_batch)]
    if len(passes) > count:
        together = [row for rows in ordered for row in rows]
        passes = [together[at : at + micro_batch] for at in range(0, len(together), micro_batch)]
    passes.sort(key=lambda rows: max(lengths[row] for row in rows), reverse=True)
    passes += [[] for _ in range(count - len(passes))]
    silent = iter([row for row in range(len(groups)) if not teaches[row]])
    return [[*rows, *(next(silent) for _ in range(micro_batch - len(rows)))] for rows in passes]
