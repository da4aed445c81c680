"""One slot: parks a child, hands it a script, watches its limits, and leaves nothing of it behind.

The supervisor is a single-threaded fork of the warm parent. It never runs a script's code, and it believes nothing a
script says: how an execution ended comes from wait(2) and from limits that were hit.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
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


class HostGoneError(Exception):
    """Nobody is left to answer to."""


@dataclass
class Child:
    """A forked child, parked or running."""

    pid: int
    pidfd: int
    job: socket.socket
    streams: dict[int, bytearray]
    """What was read from its pipes, by descriptor: stdout, stderr, records."""
    order: tuple[int, int, int]
    open: set[int] = field(default_factory=set)
    marks: bytes = b""

    def close(self) -> None:
        """Closes what the supervisor holds of it."""
        self.job.close()
        os.close(self.pidfd)
        for descriptor in self.order:
            os.close(descriptor)


class Slot:
    """The life of one slot.

    Args:
        jail: The tier, entered.
        group: Bounds the memory of all processes together; None where the supervisor has to look.
        channel: Socket to the host; None while a tier is being tried out.
        lifelines: Descriptors that become readable when the host or the warm parent dies.
    """

    def __init__(
        self, jail: Jail, group: cgroups.Group | None, channel: socket.socket | None, lifelines: list[int]
    ) -> None:
        self._jail = jail
        self._group = group
        self._channel = channel
        self._watched = [*lifelines, *([] if channel is None else [channel.fileno()])]

    def serve(self) -> None:
        """Runs scripts until the host goes away."""
        assert self._channel is not None  # noqa: S101
        child = self.park()
        wire.send(self._channel, {"ready": True})
        while True:
            try:
                self._wait_for_work(self._channel)
                header, (code,) = wire.receive(self._channel)
                answer, blobs = self.execute(child, header, code)
            except (wire.ChannelClosedError, HostGoneError):
                self._end(child)
                return
            wire.send(self._channel, answer, *blobs)
            self._jail.close_scratch()
            child = self.park()

    def _wait_for_work(self, channel: socket.socket) -> None:
        poll = select.poll()
        for descriptor in self._watched:
            poll.register(descriptor, select.POLLIN)
        if any(descriptor != channel.fileno() for descriptor, _ in poll.poll()):
            raise HostGoneError

    def park(self) -> Child:
        """Forks a child that waits for a script."""
        self._jail.open_scratch()
        mine, theirs = socket.socketpair()
        pipes = [os.pipe() for _ in range(3)]
        pid = os.fork()
        if pid == 0:
            try:
                mine.close()
                if self._group is not None:
                    self._group.join()
                script.live(self._jail, theirs, *(write for _, write in pipes))
            finally:
                os._exit(1)
        theirs.close()
        for read, write in pipes:
            os.close(write)
            os.set_blocking(read, False)
        reads = (pipes[0][0], pipes[1][0], pipes[2][0])
        streams = {read: bytearray() for read in reads}
        return Child(pid, os.pidfd_open(pid), mine, streams, reads, set(reads))

    def execute(self, child: Child, header: wire.Header, code: bytes) -> tuple[wire.Header, list[bytes]]:
        """Runs one script to its end, in a parked child that is used up by it.

        Raises:
            HostGoneError: The host or the warm parent died meanwhile.
        """
        limits = header["limits"]
        caps = dict(
            zip(child.order, (limits["stdout_bytes"], limits["stderr_bytes"], limits["capture_bytes"]), strict=True)
        )
        parked_cpu = time.clock_gettime(_cpu_clock(child.pid))
        self._jail.resize_scratch(int(limits["scratch_mb"]))
        if self._group is not None:
            self._group.allow((limits["memory_mb"] + limits["scratch_mb"]) * _MEGABYTE)  # tmpfs counts as memory
        start = time.perf_counter()
        try:
            wire.send(
                child.job, {"limits": limits, "is_text": header["is_text"], "strict": self._jail.around.strict}, code
            )
            cut_short = self._watch(child, limits, caps, start)
        except wire.ChannelClosedError:
            cut_short = ""  # it died while parked; wait tells how
        if cut_short:
            os.kill(child.pid, signal.SIGKILL)
        _, wait_status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        self._jail.end_everything()
        for descriptor in child.order:
            while descriptor in child.open and self._drain(child, descriptor, caps[descriptor]):
                pass
        if self._group is not None and self._group.was_out_of_memory():
            cut_short = cut_short or "memory"
        cut_short = cut_short or self._overflow(child, caps)
        child.marks += _rest_of(child.job)
        out, errors, records = (bytes(child.streams[read][: caps[read]]) for read in child.order)
        child.close()
        cpu = max(0.0, used.ru_utime + used.ru_stime - parked_cpu)
        answer = {
            "id": header["id"],
            "status": cut_short or _status(wait_status, child.marks, cpu, limits["cpu_seconds"]),
            "wall_seconds": wall,
            "cpu_seconds": cpu,
            "peak_rss_mb": used.ru_maxrss / 1024,
        }
        return answer, [out, errors, records]

    def _watch(self, child: Child, limits: dict[str, Any], caps: dict[int, int], start: float) -> str:
        """Waits for the child to end and returns why it had to be cut short, if so."""
        poll = select.poll()
        for descriptor in (*child.open, child.pidfd, *self._watched):
            poll.register(descriptor, select.POLLIN)
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
                elif descriptor in child.open:
                    self._drain(child, descriptor, caps[descriptor])
                    if descriptor not in child.open:
                        poll.unregister(descriptor)
            if self._overflow(child, caps):
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

    def _drain(self, child: Child, descriptor: int, cap: int) -> bool:
        """Reads what is there; returns whether more may follow."""
        try:
            piece = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        child.streams[descriptor] += piece
        if not piece or len(child.streams[descriptor]) > cap:
            child.open.discard(descriptor)
            return False
        return True

    def _overflow(self, child: Child, caps: dict[int, int]) -> str:
        out, errors, _ = child.order
        over = any(len(child.streams[read]) > caps[read] for read in (out, errors))
        return "output_limit" if over else ""

    def _end(self, child: Child) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        self._jail.end_everything()
        self._jail.close_scratch()


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


def _rest_of(job: socket.socket) -> bytes:
    job.setblocking(False)
    try:
        return job.recv(64)
    except OSError:
        return b""


def _cpu_clock(pid: int) -> int:
    """The kernel's clock id for the CPU time of another process (clock_getcpuclockid)."""
    return (~pid << 3) | 2
