"""System calls that Python does not wrap, by raw number, for x86-64 and aarch64."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

_MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV = 1, 2, 4
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CAP_DAC_READ_SEARCH = 2
_LAST_KNOWN_CAPABILITY = 40
_CAPABILITY_VERSION_3 = 0x20080522

_NUMBERS = {
    "x86_64": {"pivot_root": 155, "seccomp": 317},
    "aarch64": {"pivot_root": 41, "seccomp": 277},
}
_SAME_EVERYWHERE = {
    "process_madvise": 440,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}

MACHINE = platform.machine()
"""Architecture as the kernel names it; isolation needs one of the two in `_NUMBERS`."""

_libc = ctypes.CDLL(None, use_errno=True)
_capset = _libc.capset  # looked up here, once, and not in each child


def raw(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Calls the kernel by number and returns what it returned, -1 on error (see `ctypes.get_errno`)."""
    number = _SAME_EVERYWHERE.get(name)
    if number is None:
        number = _NUMBERS[MACHINE][name]
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *wide))


def check(result: int, what: str) -> int:
    """Returns `result`, or raises the OSError that errno names."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leaves the namespaces named by `flags` for fresh ones."""
    check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str | None = None) -> None:
    """Makes a file system appear at `target`, or changes what is there."""
    as_bytes = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    code = _libc.mount(as_bytes[0], as_bytes[1], as_bytes[2], ctypes.c_ulong(flags), as_bytes[3])
    check(code, f"mount {target}")


def unmount(target: str) -> None:
    """Detaches what is mounted at `target`."""
    check(_libc.umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)), f"umount {target}")


def pivot_root(new: str, put_old: str) -> None:
    """Makes `new` the root and shows the old one at `put_old`."""
    check(raw("pivot_root", os.fsencode(new), os.fsencode(put_old)), "pivot_root")


def make_read_only(target: str, *, below: bool) -> None:
    """Makes a bind mount, and with `below` all mounts below it, read-only, without devices and without setuid."""
    attributes = struct.pack("QQQQ", _MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV, 0, 0, 0)
    done = raw(
        "mount_setattr", _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE if below else 0, attributes, len(attributes)
    )
    if done == 0:
        return
    # Before Linux 5.12. In a user namespace a remount must repeat the flags that the mount already has.
    kept = os.statvfs(target).f_flag & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | 1024 | 2048 | 4096)
    at_time = {1024: 1024, 2048: 2048, 4096: 1 << 21}  # ST_NOATIME, ST_NODIRATIME, ST_RELATIME -> MS_*
    flags = kept & 15
    for seen, wanted in at_time.items():
        flags |= wanted if kept & seen else 0
    mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | flags)


def prctl(option: int, argument: int = 0) -> None:
    """Changes a property of this process."""
    check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), 0, 0, 0), f"prctl {option}")


def set_host_name(name: str) -> None:
    """Names this UTS namespace."""
    encoded = name.encode()
    check(_libc.sethostname(encoded, ctypes.c_size_t(len(encoded))), "sethostname")


def keep_only_capabilities(kept: frozenset[int] = frozenset()) -> None:
    """Gives up every capability but `kept`, in the permitted and effective sets."""
    mask = sum(1 << capability for capability in kept)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    sets = struct.pack("IIIIII", low, low, 0, high, high, 0)
    check(_capset(header, sets), "capset")


def empty_bounding_set() -> None:
    """Makes it impossible to get capabilities back by executing a file that carries some."""
    for capability in range(_LAST_KNOWN_CAPABILITY + 1):
        if _libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) != 0:
            return  # the kernel knows fewer, or this process lacks CAP_SETPCAP and no_new_privs has to do


def effective_capabilities() -> int:
    """Bit mask of the capabilities this process has."""
    with open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("CapEff:"):
                return int(line.split()[1], 16)
    return 0
