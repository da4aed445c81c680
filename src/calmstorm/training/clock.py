"""Where the time of a step's rollouts goes: generating, running code, grading.

Rollouts do these at once, so that their seconds cannot be added up. What is counted is the wall time that each of them
alone keeps everybody waiting: running code counts while nothing is being generated, grading while neither is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum

from calmstorm.interpreter.limits import Limits
from calmstorm.reasoner.protocol import Completion, Prefix, Reasoner, Sampling, TokenCodec
from calmstorm.records import Execution
from calmstorm.rollout import CodeRunner


class Activity(StrEnum):
    """What rollouts do; a moment at which they do several counts for the first of these."""

    GENERATE = "generate"
    EXECUTE = "execute"
    SCORE = "score"


class RolloutClock:
    """Counts the seconds of each activity; for the tasks of one event loop."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds = dict.fromkeys(Activity, 0.0)
        """Wall time by activity; what none of them filled is in none."""
        self._now = now
        self._running = dict.fromkeys(Activity, 0)
        self._since = now()

    @contextmanager
    def during(self, activity: Activity) -> Iterator[None]:
        """Counts the time inside; any number of tasks may be inside at once."""
        self._change(activity, 1)
        try:
            yield
        finally:
            self._change(activity, -1)

    def _change(self, activity: Activity, by: int) -> None:
        now = self._now()
        current = next((each for each in Activity if self._running[each]), None)
        if current is not None:
            self.seconds[current] += now - self._since
        self._since = now
        self._running[activity] += by


class TimedReasoner:
    """A Reasoner whose generating is counted."""

    def __init__(self, reasoner: Reasoner, clock: RolloutClock) -> None:
        """Takes the Reasoner, which stays open when this one is dropped."""
        self._reasoner = reasoner
        self._clock = clock

    @property
    def name(self) -> str:
        """That of the Reasoner."""
        return self._reasoner.name

    @property
    def codec(self) -> TokenCodec | None:
        """That of the Reasoner."""
        return self._reasoner.codec

    def render(self, question: str) -> Prefix:
        """Returns the Reasoner's prompt."""
        return self._reasoner.render(question)

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        """Lets the Reasoner continue `prefix`."""
        with self._clock.during(Activity.GENERATE):
            return await self._reasoner.generate(prefix, stop=stop, max_tokens=max_tokens, sampling=sampling)

    async def close(self) -> None:
        """Closes the Reasoner."""
        await self._reasoner.close()


class TimedRunner:
    """A code runner whose executions are counted."""

    def __init__(self, runner: CodeRunner, clock: RolloutClock) -> None:
        """Takes the runner."""
        self._runner = runner
        self._clock = clock

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        """Lets the runner run a script."""
        with self._clock.during(Activity.EXECUTE):
            return await self._runner.arun(code, limits)
