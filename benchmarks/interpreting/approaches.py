"""Ways to run a script: ours per tier, and what people do instead.

Each is constructed in a process of its own (a station), where constructing takes as long as its users wait before the
first script. `prepare` is not timed, `run` is. An approach that cannot exist on this machine raises `AbsentError`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from calmstorm.errors import CalmstormError
from calmstorm.interpreter import ExecutionStatus, Interpreter

LIBRARIES = ("numpy", "scipy.optimize", "pulp", "highspy", "sympy")


class AbsentError(Exception):
    """The approach does not work on this machine; the text says why."""


class FailedError(Exception):
    """The approach did not bring a script to its end; the text says how."""


@dataclass(frozen=True)
class Script:
    """A script of the mix."""

    name: str
    path: Path
    source: str


class Approach:
    """A way to run scripts; `run` may be called from as many threads as it has workers."""

    def prepare(self, script: Script) -> None:
        """What must be done before a script and does not count."""

    def run(self, script: Script) -> str:
        """Runs a script and returns its stdout; raises `FailedError`."""
        raise NotImplementedError

    def timed(self, script: Script) -> tuple[float, str]:
        """Runs a script; returns seconds, as the caller sees them, and its stdout."""
        self.prepare(script)
        start = time.perf_counter()
        output = self.run(script)
        return time.perf_counter() - start, output

    def close(self) -> None:
        """Ends all processes of it."""


def forget_results() -> None:
    """Empties sympy's cache: the mix repeats a script, but a model's next script would not find its results there."""
    if "sympy" in sys.modules:
        importlib.import_module("sympy.core.cache").clear_cache()


def execute(script: Script) -> str:
    """Compiles and runs a script in this process; returns its stdout."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(script.source, script.name, "exec"), {"__name__": "__main__"})  # noqa: S102
    except BaseException as error:
        raise FailedError(f"{type(error).__name__}: {error}") from error
    return printed.getvalue()


class InProcess(Approach):
    """The floor: `exec` in a persistent process that has the libraries imported. No limits, no isolation."""

    def __init__(self, workers: int) -> None:
        for name in LIBRARIES:
            importlib.import_module(name)

    def prepare(self, script: Script) -> None:
        """Empties sympy's cache."""
        forget_results()

    def run(self, script: Script) -> str:
        """Runs a script and returns its stdout."""
        return execute(script)


class Ours(Approach):
    """calmstorm's interpreter in one tier."""

    def __init__(self, tier: str, workers: int) -> None:
        try:
            self._interpreter = Interpreter(workers=workers, tier=tier)
        except CalmstormError as error:
            raise AbsentError(str(error)) from error

    def run(self, script: Script) -> str:
        """Runs a script and returns its stdout."""
        execution = self._interpreter.run(script.source)
        if execution.status != ExecutionStatus.OK:
            raise FailedError(f"{execution.status}: {execution.stderr.strip()[-200:]}")
        return execution.stdout

    def close(self) -> None:
        """Ends the warm parent and its children."""
        self._interpreter.close()


@dataclass(frozen=True)
class Kind:
    """What the measurement needs to know of an approach before it exists."""

    build: Callable[[int], Approach]
    """Constructs it for a number of workers."""
    process_each: bool = False
    """W workers are W stations, because one process of it runs one script at a time."""
    slow: bool = False
    """Takes most of a second a script: fewer of them are run."""
    isolating: bool = False
    """Ours, with scripts kept in by the kernel: what the targets are about."""


FLOOR = "in-process"
KINDS: dict[str, Kind] = {
    FLOOR: Kind(InProcess, process_each=True),
    "namespaces": Kind(partial(Ours, "namespaces"), isolating=True),
    "landlock": Kind(partial(Ours, "landlock"), isolating=True),
    "unsafe": Kind(partial(Ours, "unsafe")),
}
