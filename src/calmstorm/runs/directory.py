"""The run directory: everything a run finished, appended at once, so that a killed run goes on where it was.

One process writes at a time. Reading needs no lock and can be done while a run is going on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import time
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import tomli_w
from pydantic import BaseModel

from calmstorm.atomic import write_atomically, writing_atomically
from calmstorm.errors import InputError, RunLockedError, SettingsError, WorkError
from calmstorm.records import Record, Trajectory
from calmstorm.runs.environment import environment
from calmstorm.runs.index import IndexedWriter, Place, read_index
from calmstorm.runs.lines import LineWriter, parsed, read_lines, read_objects

R = TypeVar("R", bound=Record)

_HELD: set[Path] = set()
"""Directories this very process writes to: POSIX locks don't keep a process from itself."""


class RunDirectory:
    """A run on disk. Use it as a context manager, or call `close`.

    Opened for writing it is created when absent and locked; the lock goes with the process, however it ends, and is not
    inherited by forked workers. Files are named by their stem: `trajectories` is `trajectories.jsonl`.
    """

    def __init__(self, path: str | Path, *, readonly: bool = False) -> None:
        """Opens a run.

        Args:
            path: the directory, `runs/<name>`.
            readonly: take no lock and write nothing.

        Raises:
            InputError: the path is no directory, cannot be written, or, for reading, is absent or holds no run.
            RunLockedError: another process writes to it.
        """
        self.path = Path(path)
        self.readonly = readonly
        self._writers: dict[str, LineWriter] = {}
        self._trajectories: IndexedWriter | None = None
        self._lock = -1
        if readonly:
            self._require_run()
        else:
            self._take()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forces everything to disk and gives the lock back."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        if self._trajectories is not None:
            self._trajectories.close()
            self._trajectories = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            _HELD.discard(self.path.resolve())

    @contextlib.contextmanager
    def left_to_others(self) -> Iterator[None]:
        """Gives the lock to another process for the time of a block, and takes it back."""
        self._require_writable()
        self.close()
        try:
            yield
        finally:
            self._take()

    # -------------------------------------------------------------- records

    def append(self, name: str, record: Record | Mapping[str, object]) -> int:
        """Appends one record to `<name>.jsonl`. When this returns, killing the process no longer loses it.

        Returns:
            The byte offset of its line, at which `at` finds it again.
        """
        if isinstance(record, Trajectory) and name == "trajectories":
            return self.append_trajectory(record).offset
        self._require_writable()
        if isinstance(record, Record):
            line = record.model_dump_json(by_alias=True)
        else:
            line = json.dumps(_without_nan(record), ensure_ascii=False)
        if name not in self._writers:
            self._writers[name] = LineWriter(self.file(name))
        return self._writers[name].append(line)[0]

    def append_trajectory(self, trajectory: Trajectory) -> Place:
        """Appends to `trajectories.jsonl` and its index, as `append`; log-probabilities are left out."""
        self._require_writable()
        if self._trajectories is None:
            self._trajectories = IndexedWriter(self.file("trajectories"), self._index)
        return self._trajectories.append(trajectory.without_logprobs())

    def read(self, name: str, kind: type[R]) -> Iterator[R]:
        """Yields the records of `<name>.jsonl` one by one; an absent file has none.

        Raises:
            WorkError: a line is whole but is no record of this kind.
        """
        return (record for _, record in self.placed(name, kind))

    def placed(self, name: str, kind: type[R]) -> Iterator[tuple[int, R]]:
        """Yields the records with the byte offset of their line, at which `at` finds them again.

        Raises:
            WorkError: as `read`.
        """
        path = self.file(name)
        offset = 0
        for number, line in read_lines(path):
            yield offset, parsed(path, number, line, kind)
            offset += len(line)

    def at(self, name: str, kind: type[R], offset: int) -> R:
        """Returns the record whose line begins at a byte offset; files grow at their end, so that offsets stay good.

        Raises:
            WorkError: no record of this kind stands there; the file was replaced.
        """
        path = self.file(name)
        with path.open("rb") as lines:
            lines.seek(offset)
            return parsed(path, 0, lines.readline(), kind)

    def read_rows(self, name: str) -> Iterator[dict[str, Any]]:
        """Yields the rows of a file that holds plain objects, such as `sft` and `rl`."""
        yield from read_objects(self.file(name))

    def trajectories(self, stage: str | None = None) -> Iterator[Trajectory]:
        """Yields the trajectories of one stage or of all, in the order they ended; failures are left out."""
        every = self.read("trajectories", Trajectory)
        return (each for each in every if (stage is None or each.stage == stage) and not each.is_failure)

    def places(self, stage: str | None = None) -> Iterator[Place]:
        """Yields what came of these trajectories and where they stand, without reading their texts."""
        if not self.readonly and self._trajectories is None and self.file("trajectories").exists():
            self._trajectories = IndexedWriter(self.file("trajectories"), self._index)
        every = read_index(self.file("trajectories"), self._index)
        return (each for each in every if (stage is None or each.stage == stage) and not each.is_failure)

    def drop(self, name: str, unwanted: Callable[[dict[str, Any]], bool]) -> None:
        """Takes rows out of a file of plain objects: those that a resumed training is about to make again."""
        self._require_writable()
        if name in self._writers:
            self._writers.pop(name).close()
        rows = list(self.read_rows(name))
        kept = [row for row in rows if not unwanted(row)]
        if len(kept) < len(rows):
            self.write_text(f"{name}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))

    def file(self, name: str) -> Path:
        """Returns the path of `<name>.jsonl`."""
        return self.path / f"{name}.jsonl"

    # -------------------------------------------------------------- settings, environment, report

    def keep_config(self, config: BaseModel | Mapping[str, object], may_change: Collection[str] = ()) -> None:
        """Writes `config.toml`, or checks that a resumed run has the same one; also writes `env.json`.

        Args:
            config: Settings of the run.
            may_change: Dotted keys, or sections, that a resumed run may set anew.

        Raises:
            SettingsError: Another setting differs from the one the run was started with.
        """
        self._require_writable()
        data = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
        old = self.config()
        changes = differing_keys(old, data) if old is not None else []
        refused = [change for change in changes if not {change[0], change[0].partition(".")[0]} & set(may_change)]
        if refused:
            key, before, after = refused[0]
            more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
            raise SettingsError(
                f"{self.path}: {key} is {after!r}, but this run was started with {before!r}{more}; "
                "leave it as it was, or name another run directory: one run holds the results of one setting"
            )
        if old is None or changes:
            write_atomically(self.path / "config.toml", tomli_w.dumps(_without_none(data)))
        self._keep_environment()

    def config(self) -> dict[str, Any] | None:
        """Returns the settings of the run as `config.toml` holds them, or None before it was written."""
        path = self.path / "config.toml"
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise WorkError(f"{path}: not valid TOML: {error}; restore it or start another run") from None

    def environment(self) -> dict[str, Any]:
        """Returns what the run was started with; `resumed_with` lists later differences; empty before."""
        try:
            kept: dict[str, Any] = json.loads((self.path / "env.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return kept

    @contextlib.contextmanager
    def rewriting(self, name: str) -> Iterator[Callable[[Record], None]]:
        """Writes `<name>.jsonl` anew, record by record; the old one stays until the new one is whole."""
        self._require_writable()
        with writing_atomically(self.file(name)) as file:
            yield lambda record: print(record.model_dump_json(by_alias=True), file=file)

    def write_text(self, name: str, text: str) -> None:
        """Writes a whole file of the run, or leaves the old one."""
        self._require_writable()
        write_atomically(self.path / name, text)

    # -------------------------------------------------------------- timing

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Records how long a stage took, also when it fails or is interrupted: {stage, seconds} in `timing.jsonl`."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.append("timing", {"stage": name, "seconds": round(time.monotonic() - start, 3)})

    def seconds_by_stage(self) -> dict[str, float]:
        """Returns seconds per stage, summed over resumes, in the order the stages first ended."""
        total: dict[str, float] = {}
        for row in self.read_rows("timing"):
            total[row["stage"]] = round(total.get(row["stage"], 0.0) + row["seconds"], 3)
        return total

    # -------------------------------------------------------------- inside

    @property
    def _index(self) -> Path:
        return self.path / "trajectories.idx"

    def _keep_environment(self) -> None:
        now = environment()
        kept = self.environment()
        if not kept:
            kept = now
        elif now not in [{key: kept.get(key) for key in now}, *kept.get("resumed_with", [])]:
            kept = {**kept, "resumed_with": [*kept.get("resumed_with", []), now]}
        else:
            return
        write_atomically(self.path / "env.json", json.dumps(kept, indent=1) + "\n")

    def _require_run(self) -> None:
        if not self.path.is_dir():
            raise InputError(f"{self.path}: there is no such run directory; name one under runs/")
        if not (self.path / "config.toml").exists() and not self.file("trajectories").exists():
            raise InputError(f"{self.path}: holds neither config.toml nor trajectories.jsonl; name a run directory")

    def _require_writable(self) -> None:
        if self.readonly:
            raise RuntimeError("this run was opened for reading")

    def _take(self) -> None:
        self._require_free()  # before the lock file is opened: closing it again would drop this process's own lock
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}; name a directory that can be written") from None
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            raise self._locked(f"process {holder or 'unknown'}") from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        self._lock = lock
        _HELD.add(self.path.resolve())

    def _require_free(self) -> None:
        if self.path.resolve() in _HELD:
            raise self._locked("this process")

    def _locked(self, holder: str) -> RunLockedError:
        return RunLockedError(
            f"{self.path}: {holder} is writing to this run; wait for it or name another run directory"
        )


def differing_keys(old: Mapping[str, object], new: Mapping[str, object]) -> list[tuple[str, object, object]]:
    """Returns (dotted key, old value, new value) wherever two settings differ; a missing value is None."""
    before, after = dict(_flatten(old)), dict(_flatten(new))
    return [
        (key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _flatten(data: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _without_none(data: Mapping[str, Any]) -> dict[str, Any]:
    """TOML has no word for None; a setting that is left out has its default, which None is."""
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in data.items()
        if value is not None
    }


def _without_nan(value: object) -> object:
    """JSON has no word for NaN or infinity; a diverged loss is recorded as null instead of ending the run."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
