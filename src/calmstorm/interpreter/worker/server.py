"""The warm parents: import the solver libraries once, find the strongest tier that works, fork supervisors.

The first imports what nearly all scripts need. It forks one process for each level, which imports what that level adds
and serves the scripts that need no more: a small process is forked, and ends, sooner. All of them end when one of them
or the host dies.

The host starts them with an environment that holds no secrets, talks to each level over a control socket, and they
stay single-threaded: only such a process may fork and go on in Python.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from . import capture, cgroups, processes, scratch, supervisor, syscalls, touch, warmup, wire
from .jails import BY_TIER, Surroundings

_SYSTEM_TREES = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/alternatives")
_PARTING_SECONDS = 3.0
_TRIAL = b"import colorsys, fractions, xml.dom\nprint(6 * 7)"


def main(settings: dict[str, Any]) -> None:
    """Serves until the host goes away.

    Args:
        settings: `host` (process id), `tiers` (to try, in order), `preload` (modules for all), `levels` (modules that
            each level adds), `controls` (a descriptor for each level), `practise` (whether to run warm-up scripts),
            `hidden`, `scratch_root`, `strict`, `trial_limits`.
    """
    gc.disable()  # a script's process turns it on again
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    controls = [socket.socket(fileno=descriptor) for descriptor in settings["controls"]]
    host = os.pidfd_open(settings["host"])
    lifeline, held = os.pipe()  # the levels see it end when we let go of it, or die
    try:
        capture.install()
        absent = warmup.load(settings["preload"], practise=settings["practise"])
        tier, reasons = _strongest(settings, _surroundings(settings, ()))
        group = cgroups.usable_parent()
    except Exception as error:
        controls[0].send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        return
    hello = {"tier": tier, "reasons": reasons, "absent": absent, "group": group}
    if not tier:
        controls[0].send(json.dumps({**hello, "modules": []}).encode())
        return
    levels = []
    for control, adds in zip(controls, settings["levels"], strict=True):
        pid = os.fork()
        if pid == 0:
            try:
                os.close(held)
                _serve_level(control, adds, settings, [host, lifeline], hello)
            finally:
                os._exit(0)
        levels.append(os.pidfd_open(pid))
    for control in controls:
        control.close()
    _until_one_is_readable([host, *levels])
    os.close(held)
    _part(processes.Tree(os.open("/proc", os.O_PATH | os.O_CLOEXEC), os.getpid()))
    cgroups.remove_groups(group)
    with contextlib.suppress(OSError):
        scratch.erase(settings["scratch_root"])


def _serve_level(
    control: socket.socket, adds: list[str], settings: dict[str, Any], lifelines: list[int], hello: dict[str, Any]
) -> None:
    """Imports what the level adds, tells the host, then forks supervisors until it is gone."""
    syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
    try:
        absent = [*hello["absent"], *warmup.load(adds, practise=settings["practise"])]
        touch.join_pages()
        common = warmup.scripts_for(adds or settings["preload"])[:1] if settings["practise"] else []
        used = touch.written_by(functools.partial(warmup.run_scripts, common)) if common else ()
        around = _surroundings(settings, used)
        _refuse_threads()
    except Exception as error:
        control.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        return
    modules = sorted({name.partition(".")[0] for name in sys.modules})
    control.send(json.dumps({**hello, "absent": absent, "modules": modules}).encode())
    _Parent(control, lifelines, hello, around).serve()


def _until_one_is_readable(descriptors: list[int]) -> None:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    poll.poll()


def _part(tree: processes.Tree) -> None:
    """Lets all below notice that it is over, then ends whoever is left."""
    deadline = time.monotonic() + _PARTING_SECONDS
    while processes.reap_everything() and time.monotonic() < deadline:
        time.sleep(0.002)
    processes.end_descendants(tree)


def _refuse_threads() -> None:
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise RuntimeError(f"importing the solver libraries started {threads - 1} threads")


def _surroundings(settings: dict[str, Any], used: tuple[touch.Range, ...]) -> Surroundings:
    """What the slots of this process share."""
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
        toucher=touch.Toucher(used),
        inherited_bytes=processes.own_private_bytes(),
    )


def _strongest(settings: dict[str, Any], around: Surroundings) -> tuple[str, dict[str, str]]:
    """Tries the tiers in order; returns the first that works ("" for none) and why the others do not."""
    reasons: dict[str, str] = {}
    for tier in settings["tiers"]:
        reasons[tier] = _try(tier, around, settings["trial_limits"])
        if not reasons[tier]:
            return tier, reasons
    return "", reasons


def _try(tier: str, around: Surroundings, limits: dict[str, Any]) -> str:
    """Runs one small script in a throw-away slot; returns why that failed, or ""."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        try:
            _trial(tier, around, limits, tell)
        finally:
            os._exit(0)
    os.close(tell)
    with open(told, "rb") as reasons:
        reason = reasons.read().decode("utf-8", "replace")
    os.waitpid(pid, 0)
    return {"": "its process died", "works": ""}.get(reason, reason)


def _trial(tier: str, around: Surroundings, limits: dict[str, Any], tell: int) -> None:
    jail = BY_TIER[tier](around)
    # Entering may go on in another process, so the verdict travels through a file that survives the change.
    verdict = os.dup2(tell, 300)
    try:
        jail.enter()
        slot = supervisor.Slot(jail, None, None, [])
        answer, (out, errors, _) = slot.execute(slot.park(), {"id": 0, "limits": limits, "is_text": False}, _TRIAL)
        jail.close_scratch()
        worked = answer["status"] == "ok" and out == b"42\n"
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        os.write(verdict, b"works" if worked else (lines[-1] if lines else answer["status"]).encode())
    except Exception as error:
        os.write(verdict, f"{error.strerror or error}".encode() if isinstance(error, OSError) else repr(error).encode())


class _Parent:
    """Forks a supervisor whenever the host asks for one, and reaps."""

    def __init__(
        self, control: socket.socket, lifelines: list[int], hello: dict[str, Any], around: Surroundings
    ) -> None:
        self._control = control
        self._lifelines = lifelines
        self._tier, self._group = hello["tier"], hello["group"]
        self._around = around
        self._supervisors: set[int] = set()
        self._tree = processes.Tree(os.open("/proc", os.O_PATH | os.O_CLOEXEC), os.getpid())
        self._mine = os.pidfd_open(os.getpid())

    def serve(self) -> None:
        """Until the control socket closes, or the host or the first warm parent dies."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        wake_read, wake_write = os.pipe()
        for descriptor in (wake_read, wake_write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        for descriptor in (wake_read, *self._lifelines, self._control.fileno()):
            poll.register(descriptor, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if wake_read in ready:
                os.read(wake_read, 4096)
                self._reap()
            if not set(ready).isdisjoint(self._lifelines):
                break
            if self._control.fileno() in ready:
                message, descriptors, _, _ = socket.recv_fds(self._control, 4096, 1)
                if not message:
                    break
                pid = self._fork_supervisor(descriptors[0])
                self._control.send(json.dumps({"pid": pid}).encode())
        _part(self._tree)

    def _fork_supervisor(self, descriptor: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                self._supervise(socket.socket(fileno=descriptor))
            finally:
                os._exit(1)
        os.close(descriptor)
        self._supervisors.add(pid)
        return pid

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
            supervisor.Slot(jail, group, channel, [*self._lifelines, self._mine]).serve()
        except Exception as error:
            channel.settimeout(1)
            wire.send(channel, {"ready": False, "reason": f"{type(error).__name__}: {error}"})
        os._exit(0)

    def _reap(self) -> None:
        died = set()
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            died.add(pid)
        if died & self._supervisors:
            self._supervisors -= died
            self._end_orphans()

    def _end_orphans(self) -> None:
        """Kills what a dead supervisor left behind: it was handed to us, and is none of those we started."""
        for pid in self._tree.children():
            if pid not in self._supervisors:
                for orphan in (*processes.Tree(self._tree.proc, pid).descendants(), pid):
                    try:
                        os.kill(orphan, signal.SIGKILL)
                    except OSError:
                        continue
