"""Starts stations, talks to them, and reads the CPU time of all their processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from interpreting.approaches import AbsentError, FailedError
from interpreting.station import NO_MORE

_ANSWER_SECONDS = 600.0
_TICK = 1 / os.sysconf("SC_CLK_TCK")
_QUIET_SECONDS = 0.03
_PATIENCE_SECONDS = 3.0
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parent.parent),
}
"""What the interpreter's warm parent has, for all, so that no approach is favoured by it."""


class RunningStation:
    """A running station.

    Raises:
        AbsentError: The approach does not work on this machine.
    """

    def __init__(self, name: str, workers: int, queue: int, scripts: Sequence[Path]) -> None:
        mine, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "interpreting.station", name, str(workers), str(theirs.fileno())]
            self._process = subprocess.Popen(
                [*command, str(queue), *map(str, scripts)],
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), queue],
                start_new_session=True,  # Ctrl-C is the driver's to handle
            )
        self._connection: Connection[Any, Any] = Connection(mine.detach())
        word, answer = self._receive()
        if word == "absent":
            self.close()
            raise AbsentError(answer)
        self.start_seconds: float = answer

    def send(self, order: str, *arguments: object) -> None:
        """Gives an order."""
        self._connection.send((order, *arguments))

    def answer(self) -> Any:  # noqa: ANN401 -- whatever the order's method returns
        """Waits for the order to be carried out."""
        word, answer = self._receive()
        if word == "failed":
            raise FailedError(answer)
        return answer

    def cpu_seconds(self) -> float:
        """CPU time that all processes of this station have used so far, once they are at rest.

        A process that ended and was waited for counts with the one that waited, in ticks of 10 ms; live ones count to
        the nanosecond.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        before, now = -1.0, self._tree_seconds()
        while now != before and time.monotonic() < deadline:
            time.sleep(_QUIET_SECONDS)
            before, now = now, self._tree_seconds()
        return now

    def close(self) -> None:
        """Ends it and everything it started."""
        self._connection.close()
        try:
            self._process.wait(_PATIENCE_SECONDS + 7)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tree_seconds(self) -> float:
        stats = dict(_all_processes())
        family = {self._process.pid}
        grown = True
        while grown:
            more = {pid for pid, (parent, _) in stats.items() if parent in family} - family
            family |= more
            grown = bool(more)
        return sum(_own_seconds(pid) + stats[pid][1] for pid in family if pid in stats)

    def _receive(self) -> tuple[str, Any]:
        if not self._connection.poll(_ANSWER_SECONDS):
            raise TimeoutError(f"a station did not answer within {_ANSWER_SECONDS:g} s")
        word, answer = self._connection.recv()
        return word, answer


class Crew:
    """The stations of one approach that make up its workers.

    Raises:
        AbsentError: The approach does not work on this machine.
    """

    def __init__(self, name: str, stations: int, workers: int, queue: tuple[int, int], scripts: Sequence[Path]) -> None:
        self.name, self.workers = name, workers
        read, self._write = queue
        self.stations: list[RunningStation] = []
        try:
            for _ in range(stations):
                self.stations.append(RunningStation(name, workers, read, scripts))
        except BaseException:
            self.close()
            raise

    def check(self) -> list[tuple[str | None, str]]:
        """Runs every script in every station; returns what each printed, or None and how it failed."""
        answers = []
        for station in self.stations:
            station.send("check")
            answers.append(station.answer())
        return next((answer for answer in answers if any(output is None for output, _ in answer)), answers[0])

    def window(self, numbers: Sequence[int]) -> float:
        """Runs scripts on all workers; returns executions per second."""
        for station in self.stations:
            station.send("drain")
        time.sleep(_QUIET_SECONDS)  # all lanes wait for the queue
        start = time.perf_counter()
        os.write(self._write, bytes([*numbers, *[NO_MORE] * self.workers]))
        done = sum(station.answer() for station in self.stations)
        seconds = time.perf_counter() - start
        assert done == len(numbers)
        return len(numbers) / seconds

    def close(self) -> None:
        """Ends all stations."""
        for station in self.stations:
            station.close()


def _all_processes() -> Iterator[tuple[int, tuple[int, float]]]:
    """Yields each process's id, its parent's, and the CPU seconds of the children it waited for."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                yield int(entry.name), (int(fields[1]), (int(fields[13]) + int(fields[14])) * _TICK)


def _own_seconds(pid: int) -> float:
    """CPU time of a live process, by its clock (clock_getcpuclockid(3))."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0
