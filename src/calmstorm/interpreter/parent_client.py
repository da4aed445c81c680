"""The client of the warm parents: starts them, asks them for supervisors, starts them again when they die."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calmstorm.errors import InfrastructureError
from calmstorm.interpreter.limits import Limits
from calmstorm.interpreter.sandbox import scratch

PRELOAD = (
    (
        "numpy", "math", "itertools", "json", "random", "collections", "fractions", "decimal", "tempfile", "uuid",
        "multiprocessing", "subprocess", "ctypes", "glob", "heapq", "re", "statistics", "functools", "time", "datetime",
        "typing", "string", "dataclasses",
    ),
    ("pulp", "highspy"),
    ("scipy", "scipy.optimize", "scipy.sparse"),
    ("sympy",),
)  # fmt: skip
"""Modules imported once, before any script: the first group for all, each further one in a process of its own on top
of it, and all together in one more. A script runs in a fork of the smallest that has what it imports, so that one that
imports none of these has none of them loaded (OR-Tools and highspy cannot be imported into the same process)."""

_DIRECTORY = Path(__file__).parent
LOAD_SANDBOX = f"""
import sys, types
package = types.ModuleType("calmstorm_sandbox")
package.__path__ = [{str(_DIRECTORY)!r}]
sys.modules["calmstorm_sandbox"] = package
"""
"""Makes `sandbox` and `capture` importable below another name, by path: in the scripts' environment calmstorm and its
dependencies need not exist."""
_START = (
    LOAD_SANDBOX
    + """
import json
from calmstorm_sandbox.sandbox import warm_parent
warm_parent.main(json.loads(sys.argv[1]))
"""
)
_START_SECONDS = 120.0
_ANSWER_SECONDS = 30.0
_END_SECONDS = 6.0
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/",
    "PYTHONHASHSEED": "0",
    "MPLBACKEND": "Agg",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
"""All that a script finds in its environment, besides HOME and TMPDIR: nothing of the host's."""


class ParentClient:
    """The client of the warm parents, one for each import level. Methods may be called from any thread.

    Args:
        tiers: Tiers to try, strongest first.
        python: Python executable whose environment the scripts use.
        preload: Modules to import, in groups (see `PRELOAD`).
        strict: Scripts may not start other programs.
        rehearse: Also run typical scripts, so that such code is faster later.

    Raises:
        InfrastructureError: The warm parents cannot be started.
    """

    def __init__(
        self,
        tiers: Sequence[str],
        python: str,
        preload: Sequence[Sequence[str]],
        *,
        strict: bool = False,
        rehearse: bool = True,
    ) -> None:
        common, *extra = [list(group) for group in preload]
        self._python = python
        self._settings: dict[str, Any] = {
            "host": os.getpid(),
            "tiers": list(tiers),
            "preload": common,
            "levels": [[], *extra, *([list(itertools.chain(*extra))] if len(extra) > 1 else [])],
            "rehearse": rehearse,
            "strict": strict,
            "hidden": [str(_DIRECTORY.parent)],
            "trial_limits": Limits().for_sandbox(),
        }
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._controls: list[socket.socket] = []
        self.tier = ""
        """The tier it works in; "" when none of those asked for works."""
        self.reasons: dict[str, str] = {}
        """Why each tier that was tried does not work; "" for the one that does."""
        self.group = ""
        """Control group below which each slot has one with a memory limit; "" where none is delegated."""
        self.modules: list[frozenset[bytes]] = []
        """Top-level modules that are imported at each level."""
        self._start()

    @property
    def pid(self) -> int:
        """Process id of the first warm parent, of which the others are forks."""
        return 0 if self._process is None else self._process.pid

    def spawn(self, channel: socket.socket, level: int) -> None:
        """Has a supervisor forked that talks over `channel`; restarts the warm parents first if they died.

        Raises:
            InfrastructureError: The warm parents cannot be started, or were closed.
        """
        with self._lock:
            if self._closed:
                raise InfrastructureError("the interpreter was closed")  # and must not be started again
            for attempt in (1, 2):
                if self._process is None or self._process.poll() is not None:
                    self._stop()
                    self._start()
                try:
                    self._ask_for_supervisor(channel, level)
                    return
                except (OSError, ValueError) as error:
                    self._stop()
                    if attempt == 2:
                        raise InfrastructureError(f"the interpreter's warm parent does not answer: {error}") from error
            raise AssertionError

    def close(self) -> None:
        """Ends them and everything they started."""
        with self._lock:
            self._closed = True
            self._stop()

    def _ask_for_supervisor(self, channel: socket.socket, level: int) -> None:
        control = self._controls[level]
        socket.send_fds(control, [b"supervisor"], [channel.fileno()])
        control.settimeout(_ANSWER_SECONDS)
        if not control.recv(64):
            raise ConnectionResetError("it closed its socket")

    def _start(self) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in self._settings["levels"]]
        self._controls = [own_end for own_end, _ in pairs]
        parents_ends = [parents_end for _, parents_end in pairs]
        self._scratch_root = tempfile.mkdtemp(prefix="calmstorm-")
        Path(self._scratch_root).chmod(0o711)
        controls = [control.fileno() for control in parents_ends]
        settings = {**self._settings, "controls": controls, "scratch_root": self._scratch_root}
        flags = ["-s", "-P", "-B", "-X", "utf8", "-W", "ignore::DeprecationWarning"]
        try:
            self._process = subprocess.Popen(  # noqa: S603 -- our own program
                [self._python, *flags, "-c", _START, json.dumps(settings)],
                env=_ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=controls,
                start_new_session=True,  # Ctrl-C is the host's to handle
            )
        except OSError as error:
            self._stop()
            raise InfrastructureError(f"{self._python} cannot be started: {error.strerror}") from error
        finally:
            for control in parents_ends:
                control.close()
        modules = []
        for control in self._controls:
            hello = self._greeting(control)
            modules.append(frozenset(name.encode() for name in hello["modules"]))
            self.tier, self.reasons, self.group = hello["tier"], hello["reasons"], hello["group"]
            if not self.tier:
                break
        self.modules = modules  # at once: others read it while the parents are started again

    def _greeting(self, control: socket.socket) -> dict[str, Any]:
        control.settimeout(_START_SECONDS)
        try:
            hello: dict[str, Any] = json.loads(control.recv(1 << 16))
        except (OSError, ValueError) as error:
            self._stop()
            raise InfrastructureError(f"the interpreter's warm parent did not start ({self._python})") from error
        if "failed" in hello:
            self._stop()
            raise InfrastructureError(f"the interpreter's warm parent did not start: {hello['failed']}")
        return hello

    def _stop(self) -> None:
        for control in self._controls:
            control.close()
        self._controls = []
        if self._process is not None:
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        with contextlib.suppress(OSError):
            scratch.erase(self._scratch_root)
