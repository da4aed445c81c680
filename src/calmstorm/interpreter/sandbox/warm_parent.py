"""The warm parents: import the solver libraries once, find the strongest tier that works, fork supervisors.

The first imports what nearly all scripts need. It forks one process for each import level, which imports what that
level adds and runs the scripts that need no more: a small process is forked, and ends, sooner. All of them end when
one of them or the host dies.

The host starts them with an environment that holds no secrets, talks to each level over a control socket, and they
stay single-threaded: only such a process may fork and go on in Python.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import signal
import socket
import sys
import time
from typing import Any, BinaryIO

from .. import capture
from . import cgroups, prefault, processes, scratch, syscalls, warmup, wire
from .jails import BY_TIER, Surroundings
from .supervisor import Supervisor

_SYSTEM_TREES = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives")
_PARTING_SECONDS = 3.0
_TRIAL = b"import colorsys, fractions, xml.dom\nprint(6 * 7)"


def main(settings: dict[str, Any]) -> None:
    """Serves until the host goes away.

    Args:
        settings: `host` (process id), `tiers` (to try, in order), `preload` (modules for all), `levels` (modules that
            each level adds), `controls` (a descriptor for each level), `rehearse` (whether to run warm-up scripts),
            `hidden`, `scratch_root`, `strict`, `trial_limits`.
    """
    gc.disable()  # a script's process turns it on again
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    controls = [socket.socket(fileno=descriptor) for descriptor in settings["controls"]]
    host = os.pidfd_open(settings["host"])
    liveness_fd, held = os.pipe()  # the levels see it end when this process closes it, or dies
    try:
        capture.install()
        warmup.load(settings["preload"], rehearse=settings["rehearse"])
        tier, reasons = _strongest(settings, _surroundings(settings, ()))
        group = cgroups.usable_parent()
    except Exception as error:
        _tell(controls[0], failed=f"{type(error).__name__}: {error}")
        return
    hello = {"tier": tier, "reasons": reasons, "group": group}
    if not tier:
        _tell(controls[0], **hello, modules=[])
        return
    levels = []
    for control, adds in zip(controls, settings["levels"], strict=True):
        pid = os.fork()
        if pid == 0:
            try:
                os.close(held)
                _serve_level(control, adds, settings, [host, liveness_fd], hello)
            finally:
                os._exit(0)
        levels.append(os.pidfd_open(pid))
    for control in controls:
        control.close()
    wire.poll_for_input([host, *levels]).poll()
    os.close(held)
    _end_all(_own_tree())
    cgroups.remove_groups(group)
    with contextlib.suppress(OSError):
        scratch.erase(settings["scratch_root"])


def _serve_level(
    control: socket.socket, adds: list[str], settings: dict[str, Any], liveness_fds: list[int], hello: dict[str, Any]
) -> None:
    """Imports what the level adds, tells the host, then forks supervisors until it is gone."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    try:
        warmup.load(adds, rehearse=settings["rehearse"])
        prefault.use_huge_pages()
        typical = warmup.scripts_for(adds or settings["preload"])[:1] if settings["rehearse"] else []
        used = prefault.written_by(functools.partial(warmup.run_scripts, typical)) if typical else ()
        around = _surroundings(settings, used)
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            raise RuntimeError(f"importing the solver libraries started {threads - 1} threads")
    except Exception as error:
        _tell(control, failed=f"{type(error).__name__}: {error}")
        return
    _tell(control, **hello, modules=sorted({name.partition(".")[0] for name in sys.modules}))
    _Level(control, liveness_fds, hello, around).serve()


def _tell(control: socket.socket, **message: object) -> None:
    control.send(json.dumps(message).encode())


def _own_tree() -> processes.Tree:
    return processes.Tree(os.open("/proc", os.O_PATH | os.O_CLOEXEC), os.getpid())


def _end_all(tree: processes.Tree) -> None:
    """Gives all processes below time to end by themselves, then kills those that are left."""
    deadline = time.monotonic() + _PARTING_SECONDS
    while processes.reap()[1] and time.monotonic() < deadline:
        time.sleep(0.002)
    processes.end_descendants(tree)


def _surroundings(settings: dict[str, Any], used: tuple[prefault.Range, ...]) -> Surroundings:
    """Returns what the slots of this process share."""
    interpreter = os.path.dirname(os.path.dirname(os.path.realpath(sys.executable)))
    trees: list[str] = []
    for path in (*_SYSTEM_TREES, sys.base_prefix, sys.base_exec_prefix, interpreter, sys.prefix, sys.exec_prefix):
        path = os.path.abspath(path)
        if (
            os.path.lexists(path)
            and path != "/"
            and not any(path == tree or path.startswith(tree + "/") for tree in trees)
        ):
            trees.append(path)
    with open("/proc/self/statm", encoding="ascii") as file:
        mapped = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return Surroundings(
        readable=tuple(trees),
        hidden=tuple(settings["hidden"]),
        scratch_root=settings["scratch_root"],
        strict=settings["strict"],
        mapped_bytes=mapped,
        prefault=prefault.Prefault(used),
        inherited_bytes=processes.own_private_bytes(),
    )


def _strongest(settings: dict[str, Any], around: Surroundings) -> tuple[str, dict[str, str]]:
    """Tries the tiers in order; returns the first that works ("" for none) and why the others do not."""
    reasons: dict[str, str] = {}
    for tier in settings["tiers"]:
        trial = functools.partial(_try, tier, around, settings["trial_limits"])
        reason = processes.report_of_child(trial).decode("utf-8", "replace")
        reasons[tier] = {"": "its process died", "works": ""}.get(reason, reason)
        if not reasons[tier]:
            return tier, reasons
    return "", reasons


def _try(tier: str, around: Surroundings, limits: dict[str, Any], report: BinaryIO) -> None:
    """Runs one small script in a slot; reports "works", or why it failed."""
    jail = BY_TIER[tier](around)
    try:
        jail.enter()  # from here on this may be another process
        slot = Supervisor(jail, None, None, [])
        header = {"id": 0, "limits": limits, "is_text": False}
        answer, (out, errors, _) = slot.execute(slot.fork_child(), header, _TRIAL)
        jail.close_scratch()
        worked = answer["status"] == "ok" and out == b"42\n"
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        report.write(b"works" if worked else (lines[-1] if lines else answer["status"]).encode())
    except Exception as error:
        report.write(f"{error.strerror or error}".encode() if isinstance(error, OSError) else repr(error).encode())


class _Level:
    """Forks a supervisor whenever the host asks for one, and reaps."""

    def __init__(
        self, control: socket.socket, liveness_fds: list[int], hello: dict[str, Any], around: Surroundings
    ) -> None:
        self._control = control
        self._liveness_fds = liveness_fds
        self._tier, self._group = hello["tier"], hello["group"]
        self._around = around
        self._supervisors: set[int] = set()
        self._tree = _own_tree()
        self._own_pidfd = os.pidfd_open(os.getpid())

    def serve(self) -> None:
        """Until the control socket closes, or the host or the first warm parent dies."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        wake_read, wake_write = os.pipe()
        for descriptor in (wake_read, wake_write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        poll = wire.poll_for_input((wake_read, *self._liveness_fds, self._control.fileno()))
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if wake_read in ready:
                os.read(wake_read, 4096)
                self._reap()
            if not set(ready).isdisjoint(self._liveness_fds):
                break
            if self._control.fileno() in ready:
                message, descriptors, _, _ = socket.recv_fds(self._control, 4096, 1)
                if not message:
                    break
                self._fork_supervisor(descriptors[0])
                self._control.send(b"started")
        _end_all(self._tree)

    def _fork_supervisor(self, descriptor: int) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                self._supervise(socket.socket(fileno=descriptor))
            finally:
                os._exit(1)
        os.close(descriptor)
        self._supervisors.add(pid)

    def _supervise(self, channel: socket.socket) -> None:
        signal.set_wakeup_fd(-1)
        # Process 1 of a namespace takes only the signals it has handlers for: it must have none.
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self._control.close()
        try:
            jail = BY_TIER[self._tier](self._around)
            group = cgroups.Group(self._group, cgroups.slot_name()) if self._group else None
            if self._tier == "namespaces":
                # Killed outright with the warm parent: the kernel then ends the whole namespace.
                syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
            jail.enter()
            Supervisor(jail, group, channel, [*self._liveness_fds, self._own_pidfd]).serve()
        except Exception as error:
            channel.settimeout(1)
            wire.send(channel, {"ready": False, "reason": f"{type(error).__name__}: {error}"})
        os._exit(0)

    def _reap(self) -> None:
        ended, _ = processes.reap()
        if not ended & self._supervisors:
            return
        self._supervisors -= ended
        # A dead supervisor's processes are now children of this one, which did not start them.
        for pid in self._tree.children():
            if pid not in self._supervisors:
                for orphan in (*processes.Tree(self._tree.proc, pid).descendants(), pid):
                    with contextlib.suppress(OSError):
                        os.kill(orphan, signal.SIGKILL)
