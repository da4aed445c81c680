"""The process that one approach lives in: `python -m interpreting.station NAME WORKERS CONNECTION QUEUE SCRIPT...`.

It answers on CONNECTION, a socket. In a throughput window its lanes take scripts from QUEUE, a pipe that all stations
share: one byte is the number of a script, `NO_MORE` ends one lane. Whoever is free takes the next.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from interpreting.approaches import KINDS, AbsentError, Approach, FailedError, Script

NO_MORE = 255
PAUSE_SECONDS = 0.1
"""Before a request that is to find a waiting child: several times what forking one takes."""


class Station:
    """What a station does when told; each method's answer goes back over the connection."""

    def __init__(self, approach: Approach, scripts: list[Script], queue: int, workers: int) -> None:
        self._approach, self._scripts, self._queue, self._workers = approach, scripts, queue, workers
        self._expected: dict[str, str] = {}

    def check(self) -> list[tuple[str | None, str]]:
        """Runs every script once, or thrice where it works; returns what each printed, or None and how it failed."""
        answers: list[tuple[str | None, str]] = []
        for script in self._scripts:
            try:
                output = self._approach.timed(script)[1]
                for _ in range(2):
                    self._approach.timed(script)
                self._expected[script.name] = output
                answers.append((output, ""))
            except Exception as error:
                answers.append((None, _why(error)))
        return answers

    def visit(self, number: int, paused: int, burst: int) -> tuple[list[float], list[float]]:
        """Runs a script some times after a pause each, then some times back to back; returns both latencies, in ms."""
        script = self._scripts[number]
        rested = []
        for _ in range(paused):
            time.sleep(PAUSE_SECONDS)
            rested.append(self._milliseconds(script))
        return rested, [self._milliseconds(script) for _ in range(burst)]

    def drain(self) -> int:
        """Runs scripts from the queue in all lanes; returns how many."""
        if self._workers == 1:
            return self._lane()
        with ThreadPoolExecutor(self._workers) as lanes:
            return sum(lane.result() for lane in [lanes.submit(self._lane) for _ in range(self._workers)])

    def _lane(self) -> int:
        done, failure = 0, None
        while (number := os.read(self._queue, 1)[0]) != NO_MORE:
            done += 1
            try:
                self._milliseconds(self._scripts[number])
            except Exception as error:
                failure = error  # go on: the next window must not find the rest of the queue
        if failure is not None:
            raise failure
        return done

    def _milliseconds(self, script: Script) -> float:
        seconds, output = self._approach.timed(script)
        if output != self._expected[script.name]:
            raise FailedError(f"{script.name} printed something else than before: {output[:100]!r}")
        return 1000 * seconds


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, FailedError) else f"{type(error).__name__}: {error}"


def main() -> None:
    """Constructs the approach and does what the other end says until it hangs up."""
    name, workers, connection_fd, queue, *paths = sys.argv[1:]
    scripts = [Script(Path(path).stem, Path(path), Path(path).read_text(encoding="utf-8")) for path in paths]
    connection: Connection[Any, Any] = Connection(int(connection_fd))
    lanes = 1 if KINDS[name].process_each else int(workers)
    start = time.perf_counter()
    try:
        approach = KINDS[name].build(lanes)
    except AbsentError as error:
        connection.send(("absent", str(error)))
        return
    connection.send(("started", time.perf_counter() - start))
    station = Station(approach, scripts, int(queue), lanes)
    orders: dict[str, Callable[..., Any]] = {"check": station.check, "visit": station.visit, "drain": station.drain}
    with contextlib.suppress(EOFError, ConnectionError):  # the other end hung up
        while True:
            order, *arguments = connection.recv()
            try:
                answer = "done", orders[order](*arguments)
            except Exception as error:
                answer = "failed", _why(error)
            connection.send(answer)
    approach.close()


if __name__ == "__main__":
    main()
