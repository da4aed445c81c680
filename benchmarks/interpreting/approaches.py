"""Ways to run a script: ours per tier, and what people do instead.

Each is constructed in a process of its own (a station), where constructing takes as long as its users wait before the
first script. `prepare` is not timed, `run` is. An approach that cannot exist on this machine raises `AbsentError`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from calmstorm.errors import CalmstormError
from calmstorm.interpreter import ExecutionStatus, Interpreter

LIBRARIES = ("numpy", "scipy.optimize", "pulp", "highspy", "sympy")
_PR_SET_CHILD_SUBREAPER = 36


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
        sympy = importlib.import_module("sympy")
        symbol = sympy.Symbol("x")
        sympy.simplify(sympy.exp(symbol) * sympy.sin(symbol))  # imports the rest of sympy; each fork would do it again
        forget_results()

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


class Cold(Approach):
    """`python script.py`: what most public evaluation code does. No limits, no isolation."""

    def __init__(self, workers: int) -> None:
        """Needs nothing."""

    def run(self, script: Script) -> str:
        """Runs a script and returns its stdout."""
        command = [*self.inside(script), sys.executable, "-s", str(script.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FailedError(done.stderr.strip()[-200:])
        return done.stdout

    def inside(self, script: Script) -> list[str]:
        """The command that starts Python."""
        return []


class Bubblewrap(Cold):
    """`bwrap ... python script.py`: read-only root, a /tmp of its own, no network, namespaces of its own.

    The program leaves before its sandbox has ended. This process inherits what is left of it, so that CPU time is
    counted, and waits for it before the next script.
    """

    def __init__(self, workers: int) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        if shutil.which("bwrap") is None:
            raise AbsentError("bwrap is not on the path: install bubblewrap")
        script = Script("", Path("/usr/true"), "")
        trial = subprocess.run([*self.inside(script), "true"], capture_output=True, text=True, check=False)
        if trial.returncode:
            raise AbsentError(trial.stderr.strip())

    def prepare(self, script: Script) -> None:
        """Waits for the end of the last sandbox."""
        with contextlib.suppress(ChildProcessError):
            while True:
                os.waitpid(-1, 0)

    def inside(self, script: Script) -> list[str]:
        """The command that starts Python."""
        command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/"]
        command += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]  # noqa: S108 -- the sandbox's own
        for needed in (sys.prefix, sys.base_prefix, str(script.path.parent)):  # which may lie in /tmp
            command += ["--ro-bind", needed, needed]
        return command


class Fork(InProcess):
    """A `multiprocessing` fork per script from a process that has the libraries imported. No limits, no isolation."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        self._context = multiprocessing.get_context("fork")

    def prepare(self, script: Script) -> None:
        """Nothing: no script's results are in the process that is forked."""

    def run(self, script: Script) -> str:
        """Runs a script and returns its stdout."""
        output: str
        receive, send = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_execute_and_send, args=(script, send))
        process.start()
        send.close()
        try:
            output, failure = receive.recv()
        except EOFError as error:
            raise FailedError("the process died") from error
        finally:
            process.join()
            receive.close()
        if failure:
            raise FailedError(failure)
        return output


def _execute_and_send(script: Script, send: Connection[Any, Any]) -> None:
    try:
        send.send((execute(script), ""))
    except FailedError as error:
        send.send(("", str(error)))


class Pool(Approach):
    """A process pool of `concurrent.futures`: scripts share the state of the process they fall to. No isolation."""

    def __init__(self, workers: int) -> None:
        self._pool = ProcessPoolExecutor(workers, initializer=InProcess, initargs=(1,))
        for started in [self._pool.submit(time.sleep, 0.05) for _ in range(workers)]:
            started.result()  # long enough that each falls to another process

    def run(self, script: Script) -> str:
        """Runs a script and returns its stdout."""
        return self._pool.submit(_forget_and_execute, script).result()

    def close(self) -> None:
        """Ends the pool."""
        self._pool.shutdown()


def _forget_and_execute(script: Script) -> str:
    forget_results()
    return execute(script)


class Smolagents(InProcess):
    """smolagents' local executor, which walks the syntax tree itself, in a persistent process."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers)
        try:
            module = importlib.import_module("smolagents.local_python_executor")
        except ImportError as error:
            raise AbsentError(f"{error}: pip install smolagents") from error
        self._executor = module.LocalPythonExecutor
        self._imports = [f"{name.partition('.')[0]}{below}" for name in LIBRARIES for below in ("", ".*")]

    def run(self, script: Script) -> str:
        """Runs a script and returns its stdout."""
        executor = self._executor(self._imports)
        executor.send_tools({})
        try:
            return str(executor(script.source).logs)
        except Exception as error:
            raise FailedError(f"{type(error).__name__}: {error}"[:300]) from error


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
    "cold": Kind(Cold, slow=True),
    "bubblewrap": Kind(Bubblewrap, process_each=True, slow=True),
    "fork": Kind(Fork, process_each=True),
    "pool": Kind(Pool),
    "smolagents": Kind(Smolagents, process_each=True),
}
