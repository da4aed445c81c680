"""Which of the processes that train together this one is, and how they wait for each other.

A launcher (torchrun, accelerate) starts the same command several times and says in the environment which is which.
Only the first writes to the run, prints, and shows progress. What one of them refuses, all refuse, so that none is left
waiting for it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from calmstorm.errors import CalmstormError, InputError, MissingExtraError, WorkError

T = TypeVar("T")

LAUNCHED_BY = "CALM_LAUNCHED_BY"
"""Variable with the number of the process that has launched this one and waits for it."""
_PR_SET_PDEATHSIG = 1
PATIENCE = timedelta(hours=4)
"""How long processes wait for one that is late: rollouts of one may take far longer than those of the others."""


def rank() -> int:
    """Returns the number of this process, from 0; 0 where there is no launcher."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Returns the number of this process among those of its node, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Returns how many processes train together; 1 where there is no launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return rank() == 0


def launched() -> bool:
    """Whether a launcher has started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def connect(alone: bool = False) -> None:
    """Brings the processes together, once; the libraries that train go on with these connections.

    Args:
        alone: Also where there is one process only, for libraries that ask for connections all the same.
    """
    import torch
    from torch import distributed
    from torch._C._distributed_c10d import HashStore

    if distributed.is_initialized() or (world_size() == 1 and not alone):
        return
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "cuda:nccl,cpu:gloo"
        torch.cuda.set_device(local_rank())
    else:
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"  # else "cpu:1" and so on, which no optimizer can be loaded to
    if launched():
        distributed.init_process_group(backend, timeout=PATIENCE)
    else:
        os.environ.setdefault("LOCAL_RANK", "0")  # what DeepSpeed asks for
        distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)


def barrier() -> None:
    """Returns when all processes have come here."""
    if world_size() == 1:
        return
    connect()
    from accelerate import PartialState

    PartialState().wait_for_everyone()


def begin() -> None:
    """Prepares a process that a launcher has started: all but the first are silent, and none outlives its launcher."""
    if not is_first():
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  as long as the process lives
    if LAUNCHED_BY in os.environ:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[LAUNCHED_BY]):  # it ended before we asked
            os.kill(os.getpid(), signal.SIGKILL)


def part() -> None:
    """Ends the connections between processes, when all have come here."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()
    if not launched():
        os.environ.pop("LOCAL_RANK", None)


def on_first(work: Callable[[], T]) -> T:
    """Does something in the first process only, and returns its result in every process.

    Args:
        work: Its result can be pickled.

    Raises:
        CalmstormError: What `work` failed in; in every process.
    """
    if world_size() == 1:
        return work()
    result: list[T | None] = [None]
    with in_agreement():
        if is_first():
            result = [work()]
    from torch import distributed

    distributed.broadcast_object_list(result, src=0)
    return result[0]  # type: ignore[return-value]  # what `work` returned


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
    connect()
    import torch

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
    connect()
    from torch import distributed

    parts: list[Sequence[T]] | None = [()] * world_size() if is_first() else None
    distributed.gather_object(own, parts, dst=0)
    return [item for part in parts or () for item in part]


@contextmanager
def in_agreement() -> Iterator[None]:
    """Waits for all processes at the end of the block; what one of them fails in there, all fail in.

    Raises:
        CalmstormError: What the first of them failed in.
    """
    if world_size() == 1:
        yield
        return
    failure: CalmstormError | None = None
    try:
        yield
    except CalmstormError as error:
        failure = error
    connect()
    from torch import distributed

    failures: list[tuple[bool, str] | None] = [None] * world_size()
    mine = failure and (isinstance(failure, InputError | MissingExtraError), str(failure))
    distributed.all_gather_object(failures, mine)
    first = next((other for other in failures if other is not None), None)
    if first is None:
        return
    bad_input, message = first
    agreed = InputError(message) if bad_input else WorkError(message)
    agreed.agreed, agreed.reported = True, not is_first()
    raise agreed from failure
