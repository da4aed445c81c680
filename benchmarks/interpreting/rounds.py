"""The measurement: approaches take turns in rotated order, so that noise of the machine hits all alike."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from calmstorm.progress import note, track
from interpreting.approaches import KINDS, AbsentError, FailedError
from interpreting.fleet import Crew
from interpreting.results import Results

PAUSED, BURST = 3, 6
"""Requests in a visit: after a pause each, and back to back."""
SLOW_PAUSED, SLOW_BURST = 1, 1
EACH_SCRIPT, SLOW_EACH_SCRIPT = 8, 1
"""How often each script is in a throughput window, per worker."""
LATENCY_WORKERS = 2
"""Workers while latency is measured, with one caller: the interpreter's default."""


def measure(names: Sequence[str], scripts: Sequence[Path], rounds: int, workers: Sequence[int]) -> Results:
    """Measures all approaches.

    Args:
        names: Approaches; the floor among them, first.
        scripts: The mix.
        rounds: Visits to each approach with each script; half as many throughput windows for each number of workers.
        workers: Numbers of workers to measure throughput with.
    """
    results = Results([path.stem for path in scripts])
    queue = os.pipe()
    with _started(names, LATENCY_WORKERS, scripts, queue, results, stations=1) as crews:
        _latency(crews, rounds, results)
    runnable = [name for name, measured in results.approaches.items() if not measured.failed]
    for count in workers:
        with _started(runnable, count, scripts, queue, results, stations=count) as crews:
            _throughput(crews, count, (rounds + 1) // 2, results)
    for descriptor in queue:
        os.close(descriptor)
    return results


@contextmanager
def _started(
    names: Sequence[str],
    workers: int,
    scripts: Sequence[Path],
    queue: tuple[int, int],
    results: Results,
    *,
    stations: int,
) -> Iterator[list[Crew]]:
    """Starts a crew for every approach and checks what its scripts print; ends the crews after the work.

    An approach whose processes run one script at a time has as many processes as `stations`.
    """
    with ExitStack() as crews_end:
        crews = []
        with track(f"Starting, {workers} workers", len(names)) as advance:
            for name in names:
                count = stations if KINDS[name].process_each else 1
                try:
                    crew = crews_end.enter_context(closing(Crew(name, count, workers, queue, scripts)))
                except AbsentError as error:
                    results.absent[name] = str(error)
                    note(f"{name} is left out: {error}")
                    continue
                crews.append(crew)
                results.enter(name, [station.start_seconds for station in crew.stations], crew.check())
                advance(name)
        yield crews


def _latency(crews: list[Crew], rounds: int, results: Results) -> None:
    turns = [(turn, script) for turn in range(rounds) for script in range(len(results.scripts))]
    with track("Latency", len(turns) * len(crews)) as advance:
        for turn, script in turns:
            for crew in _rotated(crews, turn + script):
                if results.scripts[script] not in results.approaches[crew.name].failed:
                    _visit(crew, script, results)
                advance(crew.name)


def _visit(crew: Crew, script: int, results: Results) -> None:
    paused, burst = (SLOW_PAUSED, SLOW_BURST) if KINDS[crew.name].slow else (PAUSED, BURST)
    (station,) = crew.stations
    measured = results.approaches[crew.name]
    name = results.scripts[script]
    before = station.cpu_seconds()
    station.send("visit", script, paused, burst)
    try:
        rested, busy = station.answer()
    except FailedError as error:
        measured.failed[name] = str(error)
        return
    spent = station.cpu_seconds() - before
    measured.times[name].add(rested, busy, 1000 * spent / (paused + burst))


def _throughput(crews: list[Crew], workers: int, windows: int, results: Results) -> None:
    rng = random.Random(0)
    mix = range(len(results.scripts))
    with track(f"Throughput, {workers} workers", windows * len(crews)) as advance:
        for window in range(windows):
            order, short = ([*mix] * (workers * repeats) for repeats in (EACH_SCRIPT, SLOW_EACH_SCRIPT))
            rng.shuffle(order)
            rng.shuffle(short)
            for crew in _rotated(crews, window):
                measured = results.approaches[crew.name]
                try:
                    if not measured.failed:
                        speed = crew.window(short if KINDS[crew.name].slow else order)
                        measured.windows.setdefault(workers, []).append(speed)
                except FailedError as error:
                    measured.failed[f"mix with {workers} workers"] = str(error)
                advance(crew.name)


def _rotated(crews: list[Crew], by: int) -> list[Crew]:
    start = by % len(crews)
    return crews[start:] + crews[:start]
