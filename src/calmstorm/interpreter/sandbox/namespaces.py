"""The strongest tier: a process tree in user, mount, network, IPC, host-name and process namespaces of its own.

Its root directory holds read-only binds of the system's programs and of the Python installation, five devices, and
nothing else: no /proc, no /home, no /etc but the linker's cache and a one-line passwd.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from . import syscalls
from .syscalls import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_REC, MS_REMOUNT

HOME = "/box"
"""A script's home and working directory: an empty tmpfs."""
ACCOUNT = 1000
"""User and group id that a script sees itself as."""

_EVERYTHING = (
    syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWCGROUP
)  # fmt: skip
DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))
_INODES = 4096


def enter(outside_account: int | None, readable: Sequence[str], hidden: Sequence[str]) -> int:
    """Moves into new namespaces; returns in a new process that is process 1 there.

    Args:
        outside_account: Id outside that scripts get; None to keep the caller's (an ordinary user can map no other).
        readable: Trees to expose read-only.
        hidden: Directories below those to replace by empty ones.

    Returns:
        The process id as seen from outside.
    """
    _enter_user_namespace(outside_account)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    read_end, write_end = os.pipe()
    first = os.fork()
    if first:
        os.write(write_end, b"%d" % first)
        os.closerange(3, 1 << 12)
        os.waitpid(first, 0)
        os._exit(0)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, 9)
    outside_pid = int(os.read(read_end, 20))
    os.close(read_end)
    os.close(write_end)
    _build_root(readable, hidden)
    syscalls.set_host_name("sandbox")
    return outside_pid


def mount_home(megabytes: int, *, switch_account: bool) -> None:
    """Mounts an empty file system as the scripts' home directory."""
    owner = f",uid={ACCOUNT},gid={ACCOUNT}" if switch_account else ""
    options = f"size={megabytes}m,nr_inodes={_INODES},mode=0700{owner}"
    syscalls.mount("tmpfs", HOME, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)


def resize_home(megabytes: int) -> None:
    """Changes the limit of a home that is already mounted."""
    options = f"size={megabytes}m,nr_inodes={_INODES}"
    syscalls.mount(None, HOME, None, MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC, options)


def _enter_user_namespace(outside_account: int | None) -> None:
    pid, user, group = os.getpid(), os.getuid(), os.getgid()
    if outside_account is None:
        syscalls.unshare(_EVERYTHING)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{ACCOUNT} {user} 1")
        _write("/proc/self/gid_map", f"{ACCOUNT} {group} 1")
        return
    # Two ids can only be mapped by a process that stayed outside.
    go, start = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        failed = 1
        try:
            os.close(start)
            if os.read(go, 1):
                for table, own in (("uid_map", user), ("gid_map", group)):
                    _write(f"/proc/{pid}/{table}", f"0 {own} 1\n{ACCOUNT} {outside_account} 1\n")
                failed = 0
        finally:
            os._exit(failed)
    os.close(go)
    try:
        syscalls.unshare(_EVERYTHING)
        os.write(start, b"g")
    finally:
        os.close(start)
        _, status = os.waitpid(mapper, 0)
    if status:
        raise PermissionError(1, f"the user namespace could not map id {outside_account}")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _build_root(readable: Sequence[str], hidden: Sequence[str]) -> None:
    """Assembles the new root on a tmpfs and leaves the old one, in two pivots: any path may lie below /tmp."""
    syscalls.mount(None, "/", None, MS_REC | MS_PRIVATE)
    syscalls.mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=4m,mode=0755")  # noqa: S108
    os.mkdir("/tmp/new")  # noqa: S108
    os.mkdir("/tmp/old")  # noqa: S108
    syscalls.pivot_root("/tmp", "/tmp/old")  # noqa: S108
    os.chdir("/")
    syscalls.mount("/new", "/new", None, MS_BIND | MS_REC)
    for path in readable:
        _expose(path)
    for path in hidden:
        if os.path.isdir("/new" + path):
            syscalls.mount("tmpfs", "/new" + path, "tmpfs", syscalls.MS_RDONLY, "size=4k,mode=0755")
    for device in DEVICES:
        _bind(device)
    for directory in (HOME, "/etc", "/proc", "/var", "/left"):
        os.makedirs("/new" + directory, exist_ok=True)
    for alias in ("/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108
        if not os.path.lexists("/new" + alias):
            os.symlink(HOME, "/new" + alias)
    _write("/new/etc/passwd", f"sandbox:x:{ACCOUNT}:{ACCOUNT}::{HOME}:/bin/false\n")
    syscalls.pivot_root("/new", "/new/left")
    os.chdir("/")
    syscalls.unmount("/left")
    os.rmdir("/left")
    syscalls.make_read_only("/", below=False)


def _expose(path: str) -> None:
    source, target = "/old" + path, "/new" + path
    if os.path.islink(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.readlink(source), target)
        return
    if os.path.exists(source):
        _bind(path)
        syscalls.make_read_only(target, below=True)


def _bind(path: str) -> None:
    source, target = "/old" + path, "/new" + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        _write(target, "")
    syscalls.mount(source, target, None, MS_BIND | MS_REC)
