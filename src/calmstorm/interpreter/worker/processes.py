"""The processes a script started: who they are, how much they hold, and ending them all."""

from __future__ import annotations

import os
import resource
import time

_PAGE = os.sysconf("SC_PAGE_SIZE")
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
        found: list[int] = []
        pending = [self._root]
        while pending:
            for child in self._children(pending.pop()):
                found.append(child)
                pending.append(child)
        return found

    def resident_bytes(self) -> int:
        """Memory that the descendants do not share with files, pages counted once for each process that maps them."""
        total = 0
        for pid in self.descendants():
            fields = self._read(f"{pid}/statm").split()
            if len(fields) > 2:
                total += (int(fields[1]) - int(fields[2])) * _PAGE
        return total

    def proportional_bytes(self) -> int:
        """Memory of the descendants, shared pages divided among their sharers; slower, exact."""
        total = 0
        for pid in self.descendants():
            for line in self._read(f"{pid}/smaps_rollup").splitlines():
                if line.startswith("Pss_Anon:") or line.startswith("Pss_Shmem:"):
                    total += int(line.split()[1]) * 1024
        return total

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


def end_descendants(tree: Tree) -> None:
    """Kills what is below the caller, who must be a subreaper, forbidding each victim to fork first."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        for pid in tree.descendants():
            try:
                resource.prlimit(pid, resource.RLIMIT_NPROC, (0, 0))
            except (OSError, ValueError):
                pass
            try:
                os.kill(pid, 9)
            except OSError:
                pass
        if not reap_everything():
            return
        time.sleep(0.001)


def end_account(account: int) -> None:
    """Kills every process of an account at once, so that none can fork its way past us."""
    killer = os.fork()
    if killer == 0:
        try:
            os.setgroups([])
            os.setresgid(account, account, account)
            os.setresuid(account, account, account)
            os.kill(-1, 9)
        finally:
            os._exit(0)  # a forked helper must never return into its parent's code
    os.waitpid(killer, 0)


def reap_everything() -> bool:
    """Collects all children that ended; returns whether any is still alive."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
