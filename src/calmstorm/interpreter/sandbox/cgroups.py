"""Control groups (version 2), where one is delegated: the kernel bounds the memory of all processes of a script.

Needed is a group whose `cgroup.subtree_control` names `memory` and below which this process may make groups: its own
or the one above it (systemd's user sessions, SLURM and container engines can be set up so). Where there is none, the
supervisor looks at the processes' memory ten times a second instead.
"""

from __future__ import annotations

import contextlib
import os
from typing import BinaryIO

from .processes import report_of_child

_MEMBERS, _MAX, _CURRENT, _EVENTS = "cgroup.procs", "memory.max", "memory.current", "memory.events"
_EVERYTHING_DIES, _SWAP = "memory.oom.group", "memory.swap.max"


class Group:
    """The group for the scripts of one slot, opened before any namespace is entered.

    Args:
        parent: Directory of the group above.
        name: Of this group.

    Raises:
        OSError: It cannot be made, or has no memory controller.
    """

    def __init__(self, parent: str, name: str) -> None:
        self._seen = 0
        path = os.path.join(parent, name)
        os.mkdir(path)
        try:
            self._members, self._max = (os.open(os.path.join(path, file), os.O_WRONLY) for file in (_MEMBERS, _MAX))
            self._current, self._events = (
                os.open(os.path.join(path, file), os.O_RDONLY) for file in (_CURRENT, _EVENTS)
            )
            for file, value in ((_EVERYTHING_DIES, "1"), (_SWAP, "0")):
                with (
                    contextlib.suppress(FileNotFoundError),
                    open(os.path.join(path, file), "w", encoding="ascii") as out,
                ):
                    out.write(value)
        except OSError:
            os.rmdir(path)
            raise

    def join(self) -> None:
        """Makes the caller, and all that it starts, members."""
        os.write(self._members, b"0")

    def allow(self, size: int) -> None:
        """Lets the members use `size` bytes more than they do now."""
        os.pwrite(self._max, b"%d" % (size + int(os.pread(self._current, 32, 0))), 0)

    def was_out_of_memory(self) -> bool:
        """Whether the kernel killed members for their memory since this was last asked."""
        for line in os.pread(self._events, 4096, 0).splitlines():
            name, _, count = line.partition(b" ")
            if name == b"oom_kill":
                before, self._seen = self._seen, int(count)
                return self._seen > before
        return False


def usable_parent() -> str:
    """Returns the directory below which this process can make groups with a memory limit; "" where there is none."""
    own = _own_group()
    for directory in (own, os.path.dirname(own)) if own else ():
        name = f"{_prefix()}trial"
        try:
            with open(os.path.join(directory, "cgroup.subtree_control"), encoding="ascii") as file:
                if "memory" not in file.read().split() or not _works(Group(directory, name)):
                    continue
        except OSError:
            continue
        finally:
            remove_groups(directory)
        return directory
    return ""


def slot_name() -> str:
    """Returns a name for the group of the slot that this process is to be."""
    return f"{_prefix()}{os.getpid()}"


def remove_groups(parent: str) -> None:
    """Removes the groups that were made on behalf of this process and have no members any more."""
    with contextlib.suppress(OSError):
        for name in os.listdir(parent):
            if name.startswith(_prefix()):
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.join(parent, name))


def _prefix() -> str:
    return f"calmstorm-{os.getpgid(0)}-"  # the warm parents and their supervisors are one process group


def _works(group: Group) -> bool:
    def join(report: BinaryIO) -> None:
        group.join()
        report.write(b"joined")

    return report_of_child(join) == b"joined"


def _own_group() -> str:
    """Returns this process's directory in the version 2 hierarchy; "" where that is not mounted."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as lines:
        inside = next((line.rstrip("\n")[3:] for line in lines if line.startswith("0::")), "")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            mount, _, kind = line.partition(" - ")
            if inside and kind.startswith("cgroup2 "):
                root, point = mount.split()[3:5]
                below = os.path.relpath(inside, root)
                return "" if below.startswith("..") else os.path.normpath(os.path.join(point, below))
    return ""
