"""Process trees: what they hold, ending them, and work in a child process."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable
from typing import BinaryIO

_PATIENCE = 5.0


class Tree:
    """Everything below one process, seen through a /proc that the scripts cannot see.

    Args:
        proc: Descriptor of a /proc directory.
        root: Process id of the ancestor, in the numbering of that /proc.
    """

    def __init__(self, proc: int, root: int) -> None:
        self.proc = proc
        self._root = root

    def children(self) -> list[int]:
        """Ids of the root's own children."""
        return self._children(self._root)

    def descendants(self) -> list[int]:
        """Ids of all processes below the root, parents before children."""
        below: list[int] = []
        pending = [self._root]
        while pending:
            children = self._children(pending.pop())
            below += children
            pending += children
        return below

    def memory_bytes(self, inherited: int, at_most: int) -> int:
        """Returns what the descendants hold together, exactly only where it may be more than `at_most`.

        Args:
            inherited: Bytes that a fork of the warm parent shares with it.
            at_most: The limit.
        """
        members = self.descendants()
        estimate = sum(self._unshared(pid, inherited) for pid in members)
        if estimate <= at_most or len(members) == 1:
            return estimate
        shares = [self._share(pid) for pid in members]
        # Without permission to read the shares the estimate is used: it counts what forks share once for each of them.
        return estimate if None in shares else sum(share for share in shares if share is not None)

    def _unshared(self, pid: int, inherited: int) -> int:
        fields = _kilobytes(self._read(f"{pid}/status"))
        return max(0, fields.get("RssAnon", 0) - inherited) + fields.get("RssShmem", 0)

    def _share(self, pid: int) -> int | None:
        text = self._read(f"{pid}/smaps_rollup")
        fields = _kilobytes(text)
        if not text and self._read(f"{pid}/statm").split()[:1] not in ([], ["0"]):
            return None
        return fields.get("Pss_Anon", 0) + fields.get("Pss_Shmem", 0)

    def _children(self, pid: int) -> list[int]:
        return [int(word) for word in self._read(f"{pid}/task/{pid}/children").split()]

    def _read(self, name: str) -> str:
        try:
            file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.proc)
        except OSError:
            return ""  # it ended meanwhile
        try:
            return os.read(file, 1 << 16).decode("ascii", "replace")
        except OSError:
            return ""
        finally:
            os.close(file)


def _kilobytes(text: str) -> dict[str, int]:
    """Reads lines such as `RssAnon:  1234 kB`, as bytes."""
    sizes = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if len(words) == 2 and words[1] == "kB":
            sizes[name] = int(words[0]) * 1024
    return sizes


def own_private_bytes() -> int:
    """Memory of this process that a fork of it would share."""
    with open("/proc/self/status", encoding="ascii") as file:
        return _kilobytes(file.read()).get("RssAnon", 0)


def end_descendants(tree: Tree) -> None:
    """Kills all processes below the caller, which must be a subreaper; each may not fork any more before that."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for pid in tree.descendants():
            with contextlib.suppress(OSError, ValueError):
                resource.prlimit(pid, resource.RLIMIT_NPROC, (0, 0))
            with contextlib.suppress(OSError):
                os.kill(pid, 9)
        if not reap()[1]:
            return
        time.sleep(0.001)


def end_account(account: int) -> None:
    """Kills every process of an account at once, so that none can escape by forking."""
    killer = os.fork()
    if killer == 0:
        try:
            os.setgroups([])
            os.setresgid(account, account, account)
            os.setresuid(account, account, account)
            os.kill(-1, 9)
        finally:
            os._exit(0)  # a child must never return into its parent's code
    os.waitpid(killer, 0)


def report_of_child(work: Callable[[BinaryIO], None]) -> bytes:
    """Does work in a child process; returns what it writes to the file that it is given, as far as it got."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read_end)
            with open(write_end, "wb") as report:
                work(report)
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as report:
        text = report.read()
    os.waitpid(child, 0)
    return text


def reap() -> tuple[set[int], bool]:
    """Collects all children that ended; returns their ids, and whether any other is alive."""
    ended: set[int] = set()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended.add(pid)
