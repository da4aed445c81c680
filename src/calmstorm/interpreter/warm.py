"""The host's end of the warm parent: starts it, asks it for supervisors, starts it again when it dies."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calmstorm.errors import InfrastructureError
from calmstorm.interpreter.limits import Limits
from calmstorm.interpreter.worker import scratch

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
of it, and all together in one more. A script runs in a fork of the smallest that has what it imports; one that imports
none of them meets none of them (OR-Tools and highspy cannot be imported into the same process)."""

_WORKER = Path(__file__).parent / "worker"
_BOOTSTRAP = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("calmstorm_worker", sys.argv[1] + "/__init__.py",
                                              submodule_search_locations=[sys.argv[1]])
sys.modules["calmstorm_worker"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["calmstorm_worker"])
from calmstorm_worker import server
server.main(json.loads(sys.argv[2]))
"""
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


@dataclass(frozen=True)
class WarmSettings:
    """How to start a warm parent."""

    tiers: tuple[str, ...]
    """Tiers to try, strongest first."""
    python: str
    """Python executable whose environment the scripts use."""
    preload: Sequence[Sequence[str]] = PRELOAD
    """Modules to import, in groups (see `PRELOAD`)."""
    strict: bool = False
    practise: bool = True
    """Also run what scripts commonly do, so that it is faster later."""


class WarmParent:
    """The running warm parents, one for each level of imports. Methods may be called from any thread."""

    def __init__(self, settings: WarmSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._controls: list[socket.socket] = []
        self.tier = ""
        """The tier it works in; "" when none of those asked for works."""
        self.reasons: dict[str, str] = {}
        """Why each tier that was tried does not work; "" for the one that does."""
        self.absent: tuple[str, ...] = ()
        """Modules of `preload` that are not installed."""
        self.group = ""
        """Control group below which each slot has one with a memory limit; "" where none is delegated."""
        self.modules: list[frozenset[bytes]] = []
        """Top-level modules that are imported at each level."""
        self._start()

    @property
    def pid(self) -> int:
        """Process id of the warm parent that the others were forked from."""
        return 0 if self._process is None else self._process.pid

    def spawn(self, channel: socket.socket, level: int) -> int:
        """Has a supervisor forked that talks over `channel`; restarts the warm parents first if they died.

        Returns:
            Process id of the supervisor.

        Raises:
            InfrastructureError: The warm parents cannot be started, or were closed.
        """
        with self._lock:
            if self._closed:
                raise InfrastructureError("the interpreter was closed")  # and must not start anew
            for attempt in (1, 2):
                if self._process is None or self._process.poll() is not None:
                    self._stop()
                    self._start()
                try:
                    return self._ask_for_supervisor(channel, level)
                except (OSError, ValueError) as error:
                    self._stop()
                    if attempt == 2:
                        raise InfrastructureError(f"the interpreter's warm parent does not answer: {error}") from error
            raise AssertionError

    def close(self) -> None:
        """Ends it and everything it started."""
        with self._lock:
            self._closed = True
            self._stop()

    def _ask_for_supervisor(self, channel: socket.socket, level: int) -> int:
        control = self._controls[level]
        socket.send_fds(control, [b"{}"], [channel.fileno()])
        control.settimeout(_ANSWER_SECONDS)
        return int(json.loads(control.recv(4096))["pid"])

    def _start(self) -> None:
        common, *extra = [list(group) for group in self._settings.preload]
        levels = [[], *extra, *([list(itertools.chain(*extra))] if len(extra) > 1 else [])]
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in levels]
        self._controls = [mine for mine, _ in pairs]
        theirs = [other for _, other in pairs]
        scratch_root = tempfile.mkdtemp(prefix="calmstorm-")
        Path(scratch_root).chmod(0o711)
        self._scratch_root = scratch_root
        settings: dict[str, Any] = {
            "controls": [control.fileno() for control in theirs],
            "host": os.getpid(),
            "tiers": list(self._settings.tiers),
            "preload": common,
            "levels": levels,
            "practise": self._settings.practise,
            "hidden": [str(_WORKER.parent.parent)],
            "scratch_root": scratch_root,
            "strict": self._settings.strict,
            "trial_limits": Limits().for_worker(),
        }
        flags = ["-s", "-P", "-B", "-X", "utf8", "-W", "ignore::DeprecationWarning"]
        try:
            self._process = subprocess.Popen(  # noqa: S603 -- our own program
                [self._settings.python, *flags, "-c", _BOOTSTRAP, str(_WORKER), json.dumps(settings)],
                env=_ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=settings["controls"],
                start_new_session=True,  # Ctrl-C is the host's to handle
            )
        except OSError as error:
            self._stop()
            raise InfrastructureError(f"{self._settings.python} cannot be started: {error.strerror}") from error
        finally:
            for control in theirs:
                control.close()
        self.modules = []
        for control in self._controls:
            hello = self._greeting(control)
            self.modules.append(frozenset(name.encode() for name in hello["modules"]))
            self.tier, self.reasons, self.absent = hello["tier"], hello["reasons"], tuple(hello["absent"])
            self.group = hello.get("group", "")
            if not self.tier:
                break

    def _greeting(self, control: socket.socket) -> dict[str, Any]:
        control.settimeout(_START_SECONDS)
        try:
            hello: dict[str, Any] = json.loads(control.recv(1 << 16))
        except (OSError, ValueError) as error:
            self._stop()
            raise InfrastructureError(
                f"the interpreter's warm parent did not start ({self._settings.python})"
            ) from error
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
