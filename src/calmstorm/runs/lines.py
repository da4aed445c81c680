"""Append-only files of one JSON object a line, safe to kill at any moment.

A line is written by one `write` call on a descriptor opened for appending, so that a killed process leaves whole lines
and at most one torn one at the end. A torn line was never finished: readers skip it, and a writer cuts it off before it
appends. A line that is whole but unreadable is not our doing and is reported.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from calmstorm.errors import WorkError
from calmstorm.records import Record

R = TypeVar("R", bound=Record)

SYNC_SECONDS = 1.0
"""A file is forced to disk at most this often, and at its end: a power cut loses a second, a kill loses nothing."""
_TAIL = 1 << 16


class LineWriter:
    """Appends lines to one file. Threads may share it; processes may not, see `RunDirectory`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._synced = time.monotonic()
        self._dirty = False
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        _cut_torn_line(self._file)

    def append(self, line: str) -> tuple[int, int]:
        """Appends one line, or nothing.

        Returns:
            The byte offsets at which it begins and ends.

        Raises:
            WorkError: the line could not be written whole, for example because the disk is full.
        """
        data = line.encode() + b"\n"
        if data.count(b"\n") != 1:
            raise ValueError("a record must be one line")
        with self._lock:
            end = os.fstat(self._file).st_size
            try:
                written = os.write(self._file, data)
            except OSError as error:
                raise WorkError(f"{self.path}: {error.strerror}; free space or check the disk, then resume") from None
            if written != len(data):
                os.ftruncate(self._file, end)
                raise WorkError(f"{self.path}: the disk is full; free space, then resume")
            self._dirty = True
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                self._sync()
        return end, end + len(data)

    def close(self) -> None:
        """Forces what is left to disk and closes the file."""
        with self._lock:
            if self._file >= 0:
                self._sync()
                os.close(self._file)
                self._file = -1

    def _sync(self) -> None:
        if self._dirty:
            with contextlib.suppress(OSError):  # not every file system can; the data is written either way
                os.fsync(self._file)
            self._dirty = False
        self._synced = time.monotonic()


def read_lines(path: Path, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yields (line number from 1, line) in flat memory; a torn last line is left out, an absent file is empty.

    Args:
        path: The file.
        start: Byte offset of the line to begin with; its number is 1.
    """
    with contextlib.suppress(FileNotFoundError), path.open("rb") as lines:
        lines.seek(start)
        for number, line in enumerate(lines, 1):
            if line.endswith(b"\n"):
                yield number, line


def read_objects(path: Path) -> Iterator[dict[str, object]]:
    """Yields the objects of a file.

    Raises:
        WorkError: a whole line is not a JSON object.
    """
    for number, line in read_lines(path):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise unreadable(path, number, str(error)) from None
        if not isinstance(value, dict):
            raise unreadable(path, number, f"it holds a {type(value).__name__}, not an object")
        yield value


def parsed(path: Path, number: int, line: bytes, kind: type[R]) -> R:
    """Returns the record that a line holds.

    Raises:
        WorkError: It holds no record of this kind.
    """
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise unreadable(path, number, f"not a {kind.__name__}: {place} {first['msg']}".strip()) from None


def unreadable(path: Path, number: int, why: str) -> WorkError:
    """Returns the error for a whole line that cannot be read."""
    return WorkError(f"{path}, line {number}: {why.splitlines()[0]}; restore the file or start another run")


def _cut_torn_line(file: int) -> None:
    size = os.fstat(file).st_size
    end = size
    while end > 0:
        start = max(0, end - _TAIL)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(file, end)
