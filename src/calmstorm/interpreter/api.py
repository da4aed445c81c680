"""The `Interpreter`: runs scripts for threads and tasks, each in a slot of its own."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from types import TracebackType
from typing import Self

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.interpreter import formulations
from calmstorm.interpreter.limits import Limits
from calmstorm.interpreter.parent_client import PRELOAD, ParentClient
from calmstorm.interpreter.pool import Pool, SlotLostError
from calmstorm.interpreter.sandbox.wire import Header
from calmstorm.records import Execution, ExecutionStatus

_AUTO = ("namespaces", "landlock")
_REMEDY = (
    "allow user namespaces or Landlock on this machine (`calm doctor` says what is missing), or accept that scripts "
    "run with your rights: tier='unsafe'"
)
_DEFAULT_LIMITS = Limits()


class Tier(StrEnum):
    """How scripts are isolated, strongest first."""

    NAMESPACES = "namespaces"
    LANDLOCK = "landlock"
    UNSAFE = "unsafe"
    """Limits and clean-up only: a script can read and change whatever its user can."""


class Interpreter:
    """Runs model-written scripts, each in a new process forked from one that has the solver libraries imported.

    `run` may be called from any number of threads and `arun` from any number of tasks; at most `workers` scripts run
    at the same time, and the other callers wait. When `run` returns, everything the script started is dead. How a
    script ends is data; only unusable arguments raise.

    Args:
        workers: Scripts that may run at the same time.
        tier: A `Tier`, or `auto` for the strongest that works here.
        strict: Scripts may not start other programs; PuLP's bundled CBC is then unavailable.
        python: Python executable whose environment the scripts use; None for the one running this.
        spare: Children kept ready beyond `workers`, so that one is waiting while another is being forked.
        preload: Modules to import before any script, in groups: the first for all scripts, the others for those that
            need them (see `PRELOAD`).

    Raises:
        InputError: The tier is unknown, or does not work on this machine.
        InfrastructureError: The warm parent could not be started.
    """

    def __init__(
        self,
        workers: int = 2,
        tier: str = "auto",
        *,
        strict: bool = False,
        python: str | None = None,
        spare: int = 1,
        preload: Sequence[Sequence[str]] = PRELOAD,
    ) -> None:
        if workers < 1:
            raise InputError(f"workers is {workers}; it must be >= 1: set Interpreter(workers=...)")
        if spare < 0:
            raise InputError(f"spare is {spare}; it must be >= 0: set Interpreter(spare=...)")
        if python is not None and not os.access(python, os.X_OK):
            raise InputError(f"python is {python!r}; it must be an executable file: set Interpreter(python=...)")
        self._owner = os.getpid()
        self._closed = False
        self._ids = itertools.count(1)
        self._parents = ParentClient(
            _tiers_to_try(tier), python or sys.executable, tuple(preload) or ((),), strict=strict
        )
        self._turns = threading.Semaphore(workers)
        self._pool = Pool(self._parents, workers + spare)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="calmstorm-interpreter")
        try:
            if not self._parents.tier:
                raise InputError(_why_none(tier, self._parents.reasons))
            self._pool.open()
        except SlotLostError as error:
            self.close()
            raise InfrastructureError(f"the interpreter could not start: {error}") from error
        except BaseException:
            self.close()
            raise

    @property
    def tier(self) -> str:
        """The isolation that scripts run under."""
        return self._parents.tier

    @property
    def pid(self) -> int:
        """Process id of the first warm parent."""
        return self._parents.pid

    @property
    def memory_group(self) -> str:
        """Control group through which the kernel bounds a script's processes together; "" where none is delegated."""
        return self._parents.group

    def run(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        """Runs one script to its end and returns what came of it.

        Args:
            code: Python source. Bytes are read as Python reads a file, a `str` as it stands.
            limits: What it may use; the defaults of `Limits` when None.
        """
        self._refuse_where_unusable()
        return self._run(code, limits or _DEFAULT_LIMITS, threading.Event())

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        """Does what `run` does without blocking the event loop; cancelling it kills the script."""
        self._refuse_where_unusable()
        cancelled = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._run, code, limits or _DEFAULT_LIMITS, cancelled)
        except asyncio.CancelledError:
            cancelled.set()
            for slot in self._pool.slots:
                slot.abandon(cancelled)
            raise

    def close(self) -> None:
        """Kills what is running and ends all processes of this interpreter."""
        if self._closed or os.getpid() != self._owner:
            return
        self._closed = True
        for slot in self._pool.slots:
            slot.close()
        self._parents.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refuse_where_unusable(self) -> None:
        if self._closed:
            raise InfrastructureError("the interpreter is closed")
        if os.getpid() != self._owner:
            raise InfrastructureError("an Interpreter cannot be used in a fork of its process; open one there")

    def _run(self, code: str | bytes, limits: Limits, cancelled: threading.Event) -> Execution:
        blob = code.encode("utf-8", "surrogatepass") if isinstance(code, str) else bytes(code)
        header: Header = {"limits": limits.for_sandbox(), "is_text": isinstance(code, str)}
        level = self._pool.level_for(blob)
        reason = ""
        for again in (False, True):
            with self._turns:
                if self._closed or cancelled.is_set():
                    return self._infrastructure("the interpreter was closed" if self._closed else "cancelled")
                header["id"] = next(self._ids)
                try:
                    with self._pool.slot(level) as slot:
                        if again:
                            slot.renew()  # whatever killed one supervisor may have killed the idle ones too
                        answer, blobs = slot.execute(header, blob, limits.wall_seconds, cancelled)
                except SlotLostError as error:
                    reason = str(error)
                    continue
            if answer["status"] != ExecutionStatus.INFRASTRUCTURE:
                return self._execution(answer, *blobs)
            reason = blobs[1].decode("utf-8", "replace").strip()
        return self._infrastructure(reason)

    def _execution(self, answer: Header, output: bytes, errors: bytes, records: bytes) -> Execution:
        return Execution(
            status=ExecutionStatus(answer["status"]),
            stdout=output.decode("utf-8", "replace"),
            stderr=errors.decode("utf-8", "replace"),
            wall_seconds=answer["wall_seconds"],
            cpu_seconds=answer["cpu_seconds"],
            peak_rss_mb=answer["peak_rss_mb"],
            tier=self.tier,
            formulations=formulations.parse(records),
        )

    def _infrastructure(self, reason: str) -> Execution:
        return Execution(
            status=ExecutionStatus.INFRASTRUCTURE, stdout="", stderr=reason, wall_seconds=0.0, tier=self.tier
        )


def probe(python: str | None = None) -> list[tuple[str, bool, str]]:
    """Tries every tier on this machine.

    Returns:
        For each tier, strongest first: its name, whether it works, and why not ("" where it does).
    """
    answers = []
    for tier in Tier:
        try:
            parents = ParentClient((tier.value,), python or sys.executable, preload=((),), rehearse=False)
        except InfrastructureError as error:
            answers.append((tier.value, False, str(error)))
            continue
        parents.close()
        answers.append((tier.value, bool(parents.tier), parents.reasons.get(tier.value, "")))
    return answers


def _tiers_to_try(tier: str) -> tuple[str, ...]:
    if tier == "auto":
        return _AUTO
    if tier not in list(Tier):
        names = ", ".join(["auto", *Tier])
        raise InputError(f"tier is {tier!r}; it must be one of {names}: set Interpreter(tier=...)")
    return (Tier(tier).value,)


def _why_none(tier: str, reasons: dict[str, str]) -> str:
    tried = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    return f"tier {tier!r} does not work here ({tried}); {_REMEDY}"
