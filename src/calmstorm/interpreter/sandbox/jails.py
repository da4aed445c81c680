"""What each isolation tier does at each step of a slot's life.

in the supervisor:    enter, open_scratch, [fork, resize_scratch, run], end_everything, close_scratch
in the waiting child: seal (before it knows its script; nothing runs with rights from there on), then limit
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import time
from dataclasses import dataclass
from typing import Any

from . import accounts, landlock, namespaces, processes, scratch, seccomp, syscalls
from .prefault import Prefault

_DEFAULT_SCRATCH_MB = 64
_RECOUNT_SECONDS = 5.0
_OTHERS_MAY_START = 64
_ERASE_SECONDS = 1.0


@dataclass(frozen=True)
class Surroundings:
    """What the jails of one warm parent share."""

    readable: tuple[str, ...]
    """Trees that scripts may read."""
    hidden: tuple[str, ...]
    """Directories below those that scripts must not see, where the tier can hide them."""
    scratch_root: str
    """Directory for scratch directories, where no tmpfs can be had."""
    strict: bool
    """Scripts may not start other programs."""
    mapped_bytes: int
    """Address space that a waiting child starts with: libraries, mostly."""
    prefault: Prefault
    """Copies the memory that scripts usually write to."""
    inherited_bytes: int
    """Memory that a waiting child shares with the warm parent."""


class Jail:
    """Limits and clean-up alone: the script can read and change whatever its user can."""

    home: str
    """The script's directory."""
    tree: processes.Tree
    """The processes of the slot."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self._serial = 0
        self._account: int | None = None
        self._read_everything = False
        self._others = 0
        """Processes and threads outside the slot that count against a script's limit."""
        self._counted_at = -math.inf

    def enter(self) -> None:
        """Once, in the supervisor."""
        syscalls.prctl(syscalls.PR_SET_CHILD_SUBREAPER, 1)
        self._account = accounts.account_for_slot()
        syscalls.empty_bounding_set()
        if self._account is not None:
            self._read_everything = accounts.closed_to_others([p for p in self.around.readable if os.path.isdir(p)])
            if self._read_everything and not syscalls.effective_capabilities() >> syscalls.CAP_DAC_READ_SEARCH & 1:
                raise PermissionError(1, "Python lies in a directory closed to other users; install it elsewhere")
        self.tree = processes.Tree(os.open("/proc", os.O_PATH | os.O_CLOEXEC), os.getpid())

    def open_scratch(self) -> None:
        """Before each fork."""
        self._serial += 1
        self.home = os.path.join(self.around.scratch_root, f"{os.getpid()}-{self._serial}")
        os.mkdir(self.home, 0o700)
        if self._account is not None:
            os.chown(self.home, self._account, self._account)
        elif time.monotonic() - self._counted_at > _RECOUNT_SECONDS:
            self._counted_at = time.monotonic()
            self._others = accounts.tasks_of_this_user() + _OTHERS_MAY_START

    def close_scratch(self) -> None:
        """After each execution."""
        with contextlib.suppress(OSError):  # what could not be removed goes with the interpreter's directory
            scratch.erase(self.home, _ERASE_SECONDS)

    def scratch_bytes(self, at_most: int) -> int:
        """How much the script keeps in its directory; 0 where the kernel enforces the limit itself."""
        return scratch.size(self.home, at_most)

    def resize_scratch(self, megabytes: int) -> None:
        """Before a script that is allowed another size; does nothing where the size is only looked at."""

    def seal(self) -> None:
        """In the child, before it knows its script: it cannot get back what it gives up here."""
        os.chdir(self.home)
        if self._account is not None:
            accounts.become(self._account, read_everything=self._read_everything)
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)

    def limit(self, limits: dict[str, Any]) -> None:
        """In the child, before the script starts."""
        apply_resource_limits(limits, int(limits["processes"]) + self._others, self.around.mapped_bytes)

    def end_everything(self) -> None:
        """In the supervisor, when the script's first process is dead: no process of it is left afterwards."""
        if not processes.reap()[1]:
            return
        if self._account is not None:
            processes.end_account(self._account)
        processes.end_descendants(self.tree)


class LandlockJail(Jail):
    """Landlock and seccomp, no privileges needed: what is left in a default container."""

    def enter(self) -> None:
        """Once, in the supervisor."""
        if landlock.abi() < 1:
            raise OSError(38, "the kernel has no Landlock (Linux 5.13, enabled at boot: lsm=landlock,...)")
        super().enter()
        # Before signals are scoped, an ordinary user's scripts could reach everything else of that user.
        self._signals_itself_only = self._account is None and landlock.abi() < landlock.SIGNALS_SCOPED_SINCE
        self._filter = self._assembled()

    def seal(self) -> None:
        """In the child, before it knows its script."""
        super().seal()
        landlock.restrict(self.around.readable, [self.home], namespaces.DEVICES)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # lets the supervisor see how its memory is shared
        syscalls.keep_only_capabilities(
            frozenset({syscalls.CAP_DAC_READ_SEARCH} if self._read_everything else ()),
        )
        seccomp.install(self._assembled(os.getpid()) if self._signals_itself_only else self._filter)

    def _assembled(self, signals_only_to: int | None = None) -> bytes:
        chosen = seccomp.Filter(
            allow_exec=not self.around.strict,
            sees_outside_files=True,
            refuse_truncate=landlock.abi() < landlock.TRUNCATE_SINCE,
            signals_only_to=signals_only_to,
        )
        return seccomp.assemble(chosen)


class NamespaceJail(Jail):
    """Namespaces, a read-only root, a tmpfs of its own, no capabilities, seccomp."""

    home = namespaces.HOME

    def enter(self) -> None:
        """Once, in the supervisor, which goes on as process 1 of its namespace."""
        self._account = accounts.account_for_slot()
        self._others = 2 if self._account is None else 0  # an ordinary user's supervisor and its parent
        self._filter = seccomp.assemble(seccomp.Filter(allow_exec=not self.around.strict))
        proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
        outside_pid = namespaces.enter(self._account, self.around.readable, self.around.hidden)
        self.tree = processes.Tree(proc, outside_pid)
        syscalls.empty_bounding_set()

    def open_scratch(self) -> None:
        """Before each fork: an empty home."""
        self._size = _DEFAULT_SCRATCH_MB
        namespaces.mount_home(self._size, switch_account=self._account is not None)

    def close_scratch(self) -> None:
        """After each execution."""
        syscalls.unmount(self.home)

    def scratch_bytes(self, at_most: int) -> int:
        """Always 0: the tmpfs enforces its size."""
        return 0

    def resize_scratch(self, megabytes: int) -> None:
        """Before a script that is allowed another size."""
        if megabytes != self._size:
            namespaces.resize_home(megabytes)

    def seal(self) -> None:
        """In the child, before it knows its script."""
        os.chdir(self.home)
        if self._account is not None:
            accounts.become(namespaces.ACCOUNT, read_everything=False)
        else:
            syscalls.keep_only_capabilities()
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)  # lets the supervisor see how its memory is shared
        seccomp.install(self._filter)

    def end_everything(self) -> None:
        """In the supervisor: kill(-1) from process 1 reaches all others of the namespace, at once."""
        while processes.reap()[1]:
            try:
                os.kill(-1, 9)
                os.waitpid(-1, 0)
            except (ProcessLookupError, ChildProcessError):
                return


BY_TIER: dict[str, type[Jail]] = {
    "namespaces": NamespaceJail,
    "landlock": LandlockJail,
    "unsafe": Jail,
}


def apply_resource_limits(limits: dict[str, Any], processes_allowed: int, mapped_bytes: int) -> None:
    """Sets the kernel's limits on this process and all that it starts.

    The memory limit is on top of what the waiting process already maps, so that the same limit means the same to a
    script whatever the warm parent has imported.
    """
    with_libraries = int(limits["memory_mb"]) * (1 << 20) + mapped_bytes
    seconds = int(limits["cpu_seconds"])
    table = {
        resource.RLIMIT_AS: (with_libraries, with_libraries),
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_FSIZE: (int(limits["file_mb"]) << 20,) * 2,
        resource.RLIMIT_NOFILE: (int(limits["open_files"]),) * 2,
        resource.RLIMIT_NPROC: (processes_allowed, processes_allowed),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_SIGPENDING: (256, 256),
    }
    for name, value in table.items():
        soft, hard = value
        ceiling = resource.getrlimit(name)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(name, (soft, hard))
