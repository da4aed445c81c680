"""Which of the processes that train together this one is, and what they do together.

A launcher (torchrun, accelerate) starts the same command several times and says in the environment which is which.
Only the first writes to the run, prints, and shows progress.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState

from calmstorm.errors import CalmstormError

T = TypeVar("T")

PATIENCE = timedelta(hours=6)
"""How long processes wait for each other: longer than rollouts of the slowest take. A dead one ends the launcher."""


def rank() -> int:
    """Returns the number of this process, from 0; 0 where there is no launcher."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Returns how many processes train together; 1 where there is no launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return rank() == 0


def barrier() -> None:
    """Waits until every process has come here."""
    if world_size() > 1:
        _connect()
        torch.distributed.barrier()


def on_first(work: Callable[[], T]) -> T:
    """Does something in the first process only, and returns its result in every process.

    Args:
        work: Its result can be pickled.

    Raises:
        CalmstormError: What `work` raised; in every process.
    """
    if world_size() == 1:
        return work()
    _connect()
    outcome: list[tuple[T | None, CalmstormError | None]] = [(None, None)]
    if is_first():
        try:
            outcome = [(work(), None)]
        except CalmstormError as error:
            outcome = [(None, error)]
    torch.distributed.broadcast_object_list(outcome, src=0)
    result, failure = outcome[0]
    if failure is not None:
        raise failure
    return result  # type: ignore[return-value]  # what `work` returned


async def await_on_first(work: Callable[[], Awaitable[T]]) -> T:
    """Awaits something in the first process only; see `on_first`."""
    result: T | None = None
    failure: CalmstormError | None = None
    if is_first():
        try:
            result = await work()
        except CalmstormError as error:
            failure = error

    def told() -> T:
        if failure is not None:
            raise failure
        return result  # type: ignore[return-value]  # what `work` returned

    return on_first(told)


def in_any(flag: bool) -> bool:
    """Returns whether a flag is set in any process."""
    if world_size() == 1:
        return flag
    _connect()
    flags = [False] * world_size()
    torch.distributed.all_gather_object(flags, flag)
    return any(flags)


def gather(own: Sequence[T]) -> list[T]:
    """Returns the items of all processes, in their order, in the first; in the others nothing.

    Args:
        own: Items of this process; they can be pickled.
    """
    if world_size() == 1:
        return [*own]
    _connect()
    parts: list[Sequence[T]] | None = [()] * world_size() if is_first() else None
    torch.distributed.gather_object(own, parts, dst=0)
    return [item for part in parts or () for item in part]


def _connect() -> None:
    """Lets the processes talk to each other; accelerate knows the launchers, and keeps what it has made."""
    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
