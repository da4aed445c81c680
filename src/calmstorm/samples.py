"""Takes many samples to their ends, a fixed number at once, and keeps failures of our machinery apart from results.

What fails stays open and is tried again in later passes. Where everything in flight fails in a row, nothing works any
more and the work ends, before it burns through the rest. Curation and evaluation share this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, NamedTuple, TypeVar

from calmstorm.errors import BudgetSpentError, CalmstormError, InfrastructureError, UnfinishedError
from calmstorm.records import Failure, Problem, Stage

T = TypeVar("T")
Sample = tuple[Problem, int]

PAUSES = (10.0, 60.0)
"""Seconds before each further pass over what failed."""
_PATIENCE = 8
"""Failures in a row, or as many as are in flight, after which the work ends."""


class OpenSample(NamedTuple):
    """A sample that failed."""

    problem: Problem
    sample: int
    reason: str
    error: Exception

    @property
    def may_mend(self) -> bool:
        """Whether another try may help; it would only meet an unforeseen error again."""
        return isinstance(self.error, InfrastructureError)


@dataclass
class Work(Generic[T]):
    """Samples to be done, and how."""

    attempt: Callable[[Problem, int], Awaitable[T | None]]
    """Does one sample; None says that it heeded `spent`. What it raises leaves the sample open, but for errors that
    concern every sample and end the work: an `InputError`, or a `WorkError` such as a full disk."""
    done: Callable[[T], object]
    """Receives each result, in the event loop; what it raises ends the work."""
    failed: Callable[[Problem, int, str], object]
    """Receives the reason of each failure."""
    concurrency: int
    spent: Callable[[], str] = lambda: ""
    """Says why nothing new may be started; "" while it may."""
    kept: int = 0
    """Samples that were finished before."""
    finished: int = 0
    open: dict[tuple[str, int], OpenSample] = field(default_factory=dict)
    """What failed and was not finished since, by problem id and sample."""
    _halted: bool = False
    _in_a_row: int = 0

    async def run(self, samples: Iterable[Sample]) -> None:
        """Does the samples; those that fail are tried again, in as many passes as there are `PAUSES`.

        Args:
            samples: Drawn only as there is room.

        Raises:
            InfrastructureError: Nothing works any more.
            UnfinishedError: Samples are left open.
            BudgetSpentError: Samples are left because `spent` said so.
        """
        await self._pass(samples)
        try:
            for pause in PAUSES:
                again = [(left.problem, left.sample) for left in self.open.values() if left.may_mend]
                if again:
                    await asyncio.sleep(pause)
                    await self._pass(again)
        except InfrastructureError:
            pass  # what is left keeps failing, which says nothing against what was finished
        for first in self.open.values():
            total = len(self.open) + self.finished + self.kept
            raise UnfinishedError(len(self.open), total, first.reason) from first.error

    async def _pass(self, samples: Iterable[Sample]) -> None:
        self._in_a_row = 0
        drawn = iter(samples)

        async def worker() -> None:
            for problem, sample in drawn:  # shared by all workers, which take turns within one event loop
                if self.spent():
                    self._halted = True
                    return
                await self._take(problem, sample)

        await _together(worker, self.concurrency)
        if self._halted:
            raise BudgetSpentError(f"{self.spent()}; {self.finished} samples were finished, and everything is kept")

    async def _take(self, problem: Problem, sample: int) -> None:
        try:
            result = await self.attempt(problem, sample)
        except InfrastructureError as error:
            self._fail(OpenSample(problem, sample, str(error), error))
        except CalmstormError:
            raise
        except Exception as error:  # trouble with one sample must not cost the others
            self._fail(OpenSample(problem, sample, f"internal error: {type(error).__name__}: {error}", error))
        else:
            self._in_a_row = 0
            if result is None:
                self._halted = True
                return
            self.open.pop((problem.id, sample), None)
            self.finished += 1
            self.done(result)

    def _fail(self, left: OpenSample) -> None:
        self.failed(left.problem, left.sample, left.reason)
        self.open[left.problem.id, left.sample] = left
        self._in_a_row += 1
        if self._in_a_row >= max(_PATIENCE, self.concurrency):
            raise InfrastructureError(
                f"{self._in_a_row} samples in a row failed ({left.reason}); {self.finished} were finished, and "
                "those are kept: see that server or model works, then run the same command again"
            ) from left.error


def failure(stage: Stage, problem: Problem, sample: int, round_: int, reason: str) -> Failure:
    """Returns the record of a failure that happened now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Failure(stage=stage, problem_id=problem.id, sample=sample, round=round_, reason=reason, time=now)


class Meter:
    """Counts what a stage does, for the remark beside its bar."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._finished = 0
        self.failures = 0

    def finish(self) -> None:
        """Counts a finished sample."""
        self._finished += 1

    def remark(self, *parts: str) -> str:
        """Returns the rate, what else is to be said, and failures where there are any."""
        minutes = max(1e-9, (time.monotonic() - self._started) / 60)
        failures = f"{self.failures} failures" if self.failures else ""
        return ", ".join(part for part in (f"{self._finished / minutes:.3g}/min", *parts, failures) if part)


async def _together(worker: Callable[[], Awaitable[None]], count: int) -> None:
    """Runs several workers at once; when one raises, the others are cancelled."""
    tasks = [asyncio.ensure_future(worker()) for _ in range(count)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
