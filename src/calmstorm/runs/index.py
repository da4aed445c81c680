"""An index of `trajectories.jsonl`: what came of each trajectory and where its line stands.

A line of `trajectories.idx` is written right behind the line that it tells of. What a kill between the two left out is
read again from the last indexed line on; an index that is absent, or does not fit the file, is made anew in one pass.
With it, what was done is known in seconds and in a few hundred bytes a trajectory, whatever the length of the texts.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from calmstorm.errors import WorkError
from calmstorm.progress import note
from calmstorm.records import Stage, StopReason, Trajectory, TrajectoryKey, VerdictStatus
from calmstorm.runs.lines import LineWriter, parsed, read_lines

_MANY_BYTES = 1 << 28
"""From so much on, somebody who waits for an index to be made is told."""


class Place(NamedTuple):
    """What is kept of a trajectory, and where it stands."""

    stage: Stage
    suite: str
    problem_id: str
    sample: int
    round: int
    status: VerdictStatus
    stop_reason: StopReason
    tokens: int
    """Of the response."""
    sent: int
    """Tokens that this round sent to the Reasoner, over all its requests."""
    drawn: int
    """Tokens that it got from the Reasoner."""
    executions: int
    seconds: float
    cost: float
    """US dollars."""
    offset: int
    """Of its line in `trajectories.jsonl`, bytes."""
    end: int
    """Where its line ends, bytes."""

    @classmethod
    def of(cls, trajectory: Trajectory, offset: int, end: int) -> Place:
        """Returns the place of a trajectory whose line is known."""
        sent, drawn = trajectory.requested()
        return cls(
            stage=trajectory.stage,
            suite=sys.intern(trajectory.suite),
            problem_id=sys.intern(trajectory.problem_id),
            sample=trajectory.sample,
            round=trajectory.round,
            status=trajectory.verdict.status if trajectory.verdict else VerdictStatus.UNGRADED,
            stop_reason=trajectory.stop_reason,
            tokens=trajectory.usage.completion_tokens,
            sent=sent,
            drawn=drawn,
            executions=len(trajectory.executions),
            seconds=round(trajectory.usage.seconds, 3),
            cost=trajectory.usage.cost,
            offset=offset,
            end=end,
        )

    @property
    def key(self) -> TrajectoryKey:
        """The key of the trajectory."""
        return TrajectoryKey(self.stage, self.problem_id, self.sample, self.round)

    @property
    def correct(self) -> bool:
        """Whether it was graded correct."""
        return self.status is VerdictStatus.CORRECT

    @property
    def is_failure(self) -> bool:
        """As of the trajectory."""
        return self.stop_reason is StopReason.INFRASTRUCTURE


_STAGES = {stage.value: stage for stage in Stage}
_STATUSES = {status.value: status for status in VerdictStatus}
_STOPS = {reason.value: reason for reason in StopReason}


def read_index(lines: Path, index: Path) -> Iterator[Place]:
    """Yields the places of a file of trajectories: from its index, then from the lines that the index lacks."""
    end = 0
    if _fits(lines, index):
        for number, line in read_lines(index):
            try:
                place = _decoded(line)
            except (ValueError, TypeError, KeyError):
                raise WorkError(f"{index}, line {number}: is damaged; delete the file, it is made anew") from None
            end = place.end
            yield place
    yield from _scanned(lines, end)


class IndexedWriter:
    """Appends trajectories to a file and to its index. Threads may share it."""

    def __init__(self, lines: Path, index: Path) -> None:
        """Opens both; the index is brought up to the file.

        Raises:
            WorkError: A line that the index lacks is whole but is no trajectory.
        """
        self._lines = LineWriter(lines)
        if not _fits(lines, index):
            index.unlink(missing_ok=True)
        last = _last(index)
        self._index = LineWriter(index)
        self._lock = threading.Lock()
        for place in _scanned(lines, last.end if last else 0):
            self._index.append(_encoded(place))

    def append(self, trajectory: Trajectory) -> Place:
        """Appends one trajectory, or nothing, and returns where it stands.

        Raises:
            WorkError: The line could not be written.
        """
        with self._lock:
            offset, end = self._lines.append(trajectory.to_json())
            place = Place.of(trajectory, offset, end)
            self._index.append(_encoded(place))
        return place

    def close(self) -> None:
        """Forces both to disk and closes them."""
        self._lines.close()
        self._index.close()


def _encoded(place: Place) -> str:
    return json.dumps(place, ensure_ascii=False, separators=(",", ":"))


def _decoded(line: bytes) -> Place:
    stage, suite, problem_id, sample, round_, status, stop, *numbers = json.loads(line)
    return Place(
        _STAGES[stage],
        sys.intern(suite),
        sys.intern(problem_id),
        sample,
        round_,
        _STATUSES[status],
        _STOPS[stop],
        *numbers,
    )


def _scanned(lines: Path, start: int) -> Iterator[Place]:
    """Reads trajectories from a byte offset on."""
    size = lines.stat().st_size if lines.exists() else 0
    if size - start > _MANY_BYTES:
        note(f"{lines}: reading {(size - start) / 1e9:.1f} GB once, to index what stands in it")
    offset, shown = start, start
    for number, line in read_lines(lines, start):
        trajectory = parsed(lines, number if start == 0 else 0, line, Trajectory)
        yield Place.of(trajectory, offset, offset + len(line))
        offset += len(line)
        if offset - shown > 4 * _MANY_BYTES:
            note(f"{lines}: {offset / size:.0%} read")
            shown = offset


def _fits(lines: Path, index: Path) -> bool:
    """Whether an index tells of this file: its last entry is found where it says."""
    try:
        last = _last(index)
        if last is None:
            return True
        with lines.open("rb") as file:
            file.seek(last.offset)
            line = file.read(last.end - last.offset)
        trajectory = Trajectory.from_json(line)
    except (ValueError, TypeError, KeyError, OSError):
        return False
    return line.endswith(b"\n") and trajectory.key == last.key


def _last(index: Path) -> Place | None:
    """Returns the last whole entry of an index.

    Raises:
        ValueError: It is none; or a TypeError or KeyError.
    """
    try:
        with index.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (1 << 16)))
            whole = file.read().rpartition(b"\n")[0]
    except FileNotFoundError:
        return None
    return _decoded(whole.rpartition(b"\n")[2]) if whole else None
