"""Which of the processes that train together this one is, and what they tell each other.

A launcher (torchrun, accelerate) starts the same command several times and says in the environment which is which.
Only the first writes to the run, prints, and shows progress.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from calmstorm.errors import CalmstormError

T = TypeVar("T")


def rank() -> int:
    """Returns the number of this process, from 0; 0 where there is no launcher."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Returns how many processes train together; 1 where there is no launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return rank() == 0


def from_first(value: T) -> T:
    """Returns the first process's value in every process; every process has to take part."""
    if world_size() == 1:
        return value
    import torch.distributed

    values: list[Any] = [value]
    torch.distributed.broadcast_object_list(values)
    received: T = values[0]
    return received


def in_any(flag: bool) -> bool:
    """Returns whether the flag is set in any process; every process has to take part."""
    if world_size() == 1:
        return flag
    import torch.distributed

    flags: list[Any] = [None] * world_size()
    torch.distributed.all_gather_object(flags, flag)
    return any(flags)


async def on_first(work: Callable[[], Awaitable[T]]) -> T:
    """Does work in the first process; every process takes part, and gets its result or raises its failure.

    Raises:
        CalmstormError: What the work raised.
    """
    result: T | None = None
    failure: CalmstormError | None = None
    if is_first():
        try:
            result = await work()
        except CalmstormError as error:
            failure = error
    result, failure = from_first((result, failure))
    if failure is not None:
        raise failure
    return result  # type: ignore[return-value]  # of the first process
