"""The user that a script runs as, and what that user needs to be allowed."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from . import syscalls

_FIRST, _COUNT = 600_000_000, 100_000_000
_SHARED_RANGE = 4096


def account_for_slot() -> int | None:
    """Returns a user id that no one else on this machine has; None when this process is not root and cannot switch."""
    if os.geteuid() != 0:
        return None
    ranges = []
    with open("/proc/self/uid_map", encoding="ascii") as lines:
        for line in lines:
            first, _, count = (int(field) for field in line.split())
            ranges.append((first, count))
    wanted = _FIRST + os.getpid() % _COUNT
    if any(first <= wanted < first + count for first, count in ranges):
        return wanted
    first, count = max(ranges, key=lambda both: both[1])
    if count < 2 * _SHARED_RANGE:
        raise PermissionError(1, f"only {count} user ids exist here; scripts need one of their own")
    return first + count - 2 * _SHARED_RANGE + os.getpid() % _SHARED_RANGE


def become(account: int, *, read_everything: bool) -> None:
    """Switches to an account for good, keeping no capability, or the one to pass through closed directories."""
    os.setgroups([])
    if read_everything:
        syscalls.prctl(syscalls.PR_SET_KEEPCAPS, 1)
    os.setresgid(account, account, account)
    os.setresuid(account, account, account)
    syscalls.keep_only_capabilities(frozenset({syscalls.CAP_DAC_READ_SEARCH} if read_everything else ()))


def closed_to_others(paths: Sequence[str]) -> bool:
    """Whether another user could not reach one of the directories (Python installed below a private home)."""
    for path in paths:
        step = os.path.realpath(path)
        while True:
            if not os.stat(step).st_mode & stat.S_IXOTH:
                return True
            if step == "/":
                break
            step = os.path.dirname(step)
    return False


def tasks_of_this_user() -> int:
    """How many threads this user already has: RLIMIT_NPROC counts them too where there is no user namespace."""
    user, total = os.getuid(), 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:
                    total += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue  # it ended meanwhile
    return total
