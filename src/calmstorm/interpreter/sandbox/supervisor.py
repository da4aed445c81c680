"""One slot: forks a child that waits, sends it a script, watches its limits, and leaves no process of it behind.

The supervisor is a single-threaded fork of the warm parent. It never runs a script's code, and it believes nothing a
script says: how an execution ended comes from wait(2) and from limits that were hit.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import time
from dataclasses import dataclass, field
from typing import Any

from . import cgroups, script, wire
from .jails import Jail

_CHUNK = 1 << 16
_FIRST_LOOK_SECONDS = 0.1
_MEGABYTE = 1 << 20
_CAPS = ("stdout_bytes", "stderr_bytes", "capture_bytes")
"""Limits of what a child writes, in the order of `Child.streams`."""


class HostGoneError(Exception):
    """The host or the warm parent died: there is no one to answer."""


@dataclass
class Stream:
    """What was read from a pipe of a child."""

    descriptor: int
    cap: int = 0
    """Bytes after which nothing more is read."""
    data: bytearray = field(default_factory=bytearray)
    open: bool = True

    @property
    def overflowed(self) -> bool:
        """Whether the child wrote more than the cap."""
        return len(self.data) > self.cap

    def read(self) -> bool:
        """Reads what is there; returns whether more may follow."""
        try:
            piece = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return False
        self.data += piece
        self.open = bool(piece) and not self.overflowed
        return self.open


@dataclass
class Child:
    """A forked child, waiting or running."""

    pid: int
    pidfd: int
    job: socket.socket
    streams: tuple[Stream, ...]
    """stdout, stderr, records."""

    @property
    def overflowed(self) -> bool:
        """Whether stdout or stderr exceeded its cap."""
        return any(stream.overflowed for stream in self.streams[:2])

    def rest_of_marks(self) -> bytes:
        """Returns what the child wrote to its job socket and was not read."""
        self.job.setblocking(False)
        try:
            return self.job.recv(64)
        except OSError:
            return b""

    def close(self) -> None:
        """Closes what the supervisor holds of it."""
        self.job.close()
        os.close(self.pidfd)
        for stream in self.streams:
            os.close(stream.descriptor)


class Supervisor:
    """The life of one slot.

    Args:
        jail: The tier, entered.
        group: Bounds the memory of all processes together; None where the supervisor has to look.
        channel: Socket to the host; None while a tier is being tried out.
        liveness_fds: Descriptors that become readable when the host or the warm parent dies.
    """

    def __init__(
        self, jail: Jail, group: cgroups.Group | None, channel: socket.socket | None, liveness_fds: list[int]
    ) -> None:
        self._jail = jail
        self._group = group
        self._channel = channel
        self._watched = [*liveness_fds, *([] if channel is None else [channel.fileno()])]

    def serve(self) -> None:
        """Runs scripts until the host goes away."""
        assert self._channel is not None  # noqa: S101
        child = self.fork_child()
        wire.send(self._channel, {"ready": True})
        while True:
            try:
                ready = wire.poll_for_input(self._watched).poll()
                if any(descriptor != self._channel.fileno() for descriptor, _ in ready):
                    raise HostGoneError
                header, (code,) = wire.receive(self._channel)
                answer, blobs = self.execute(child, header, code)
            except (wire.ChannelClosedError, HostGoneError):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
                self._jail.end_everything()
                self._jail.close_scratch()
                return
            wire.send(self._channel, answer, *blobs)
            self._jail.close_scratch()
            child = self.fork_child()

    def fork_child(self) -> Child:
        """Forks a child that waits for a script."""
        self._jail.open_scratch()
        own_end, child_end = socket.socketpair()
        pipes = [os.pipe() for _ in _CAPS]
        pid = os.fork()
        if pid == 0:
            try:
                own_end.close()
                if self._group is not None:
                    self._group.join()
                script.run_one(self._jail, child_end, *(write_end for _, write_end in pipes))
            finally:
                os._exit(1)
        child_end.close()
        for read_end, write_end in pipes:
            os.close(write_end)
            os.set_blocking(read_end, False)
        return Child(pid, os.pidfd_open(pid), own_end, tuple(Stream(read_end) for read_end, _ in pipes))

    def execute(self, child: Child, header: wire.Header, code: bytes) -> tuple[wire.Header, list[bytes]]:
        """Runs one script to its end, in a waiting child that is used up by it.

        Raises:
            HostGoneError: The host or the warm parent died meanwhile.
        """
        limits = header["limits"]
        for stream, cap in zip(child.streams, _CAPS, strict=True):
            stream.cap = limits[cap]
        cpu_before = time.clock_gettime(_cpu_clock(child.pid))
        self._jail.resize_scratch(int(limits["scratch_mb"]))
        if self._group is not None:
            self._group.allow((limits["memory_mb"] + limits["scratch_mb"]) * _MEGABYTE)  # tmpfs counts as memory
        start = time.perf_counter()
        try:
            job = {"limits": limits, "is_text": header["is_text"], "strict": self._jail.around.strict}
            wire.send(child.job, job, code)
            cut_short = self._watch(child, limits, start)
        except wire.ChannelClosedError:
            cut_short = ""  # it died while waiting; its exit status tells how
        if cut_short:
            os.kill(child.pid, signal.SIGKILL)
        _, wait_status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        self._jail.end_everything()
        for stream in child.streams:
            while stream.open and stream.read():
                pass
        if self._group is not None and self._group.was_out_of_memory():
            cut_short = cut_short or "memory"
        if child.overflowed:
            cut_short = cut_short or "output_limit"
        cpu = max(0.0, used.ru_utime + used.ru_stime - cpu_before)
        answer = {
            "id": header["id"],
            "status": cut_short or _status(wait_status, child.rest_of_marks(), cpu, limits["cpu_seconds"]),
            "wall_seconds": wall,
            "cpu_seconds": cpu,
            "peak_rss_mb": used.ru_maxrss / 1024,
        }
        child.close()
        return answer, [bytes(stream.data[: stream.cap]) for stream in child.streams]

    def _watch(self, child: Child, limits: dict[str, Any], start: float) -> str:
        """Waits for the child to end and returns why it had to be cut short, if so."""
        streams = {stream.descriptor: stream for stream in child.streams}
        poll = wire.poll_for_input((*streams, child.pidfd, *self._watched))
        deadline = start + limits["wall_seconds"]
        next_look = start + _FIRST_LOOK_SECONDS
        while True:
            now = time.perf_counter()
            if now >= deadline:
                return "timeout"
            if now >= next_look:
                exceeded = self._look_at_resources(limits)
                if exceeded:
                    return exceeded
                now = time.perf_counter()
                next_look = now + max(_FIRST_LOOK_SECONDS, (now - start) / 20)
            wait_milliseconds = math.ceil(1000 * max(0.0, min(deadline, next_look) - now))
            ended = False
            for descriptor, _ in poll.poll(wait_milliseconds):
                if descriptor == child.pidfd:
                    ended = True
                elif descriptor in self._watched:
                    raise HostGoneError
                else:
                    streams[descriptor].read()
                    if not streams[descriptor].open:
                        poll.unregister(descriptor)
            if child.overflowed:
                return "output_limit"
            if ended:
                return ""

    def _look_at_resources(self, limits: dict[str, Any]) -> str:
        """Checks what no rlimit bounds: memory of all processes together, and scratch space without a tmpfs."""
        memory = limits["memory_mb"] * _MEGABYTE
        if self._group is None and self._jail.tree.memory_bytes(self._jail.around.inherited_bytes, memory) > memory:
            return "memory"
        scratch = limits["scratch_mb"] * _MEGABYTE
        return "killed" if self._jail.scratch_bytes(scratch) > scratch else ""


def _status(wait_status: int, marks: bytes, cpu_seconds: float, cpu_limit: float) -> str:
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_seconds >= cpu_limit):
            return "timeout"
        return "killed" if script.STARTED in marks else "infrastructure"
    if script.STARTED not in marks:
        return "infrastructure"
    if script.FINISHED not in marks:
        return "early_exit"
    code = os.WEXITSTATUS(wait_status)
    return "ok" if code == 0 else "memory" if code == script.MEMORY_EXIT else "error"


def _cpu_clock(pid: int) -> int:
    """The kernel's clock id for the CPU time of another process (clock_getcpuclockid)."""
    return (~pid << 3) | 2
