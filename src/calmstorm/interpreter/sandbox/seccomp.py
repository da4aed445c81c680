"""The system-call filter: classic BPF, assembled here, no dependency.

What no solver script needs and what could lead out is refused: mounts and namespaces, other processes' memory,
sockets, kernel keys, System V and POSIX message IPC, io_uring, modules, clocks, and every call newer than this table.
`fork`, threads, pipes and files stay: solvers use them. Refusal is EPERM, so that a script fails with a Python error
it can show, and ENOSYS where libraries have a fallback.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from dataclasses import dataclass

from . import syscalls

_NAMES = (
    # name, x86-64, aarch64 (None: the call does not exist there)
    ("ptrace", 101, 117), ("process_vm_readv", 310, 270), ("process_vm_writev", 311, 271),
    ("process_madvise", 440, 440), ("pidfd_getfd", 438, 438), ("kcmp", 312, 272), ("process_mrelease", 448, 448),
    ("unshare", 272, 97), ("setns", 308, 268), ("mount", 165, 40), ("umount2", 166, 39), ("pivot_root", 155, 41),
    ("chroot", 161, 51), ("open_tree", 428, 428), ("move_mount", 429, 429), ("fsopen", 430, 430),
    ("fsconfig", 431, 431), ("fsmount", 432, 432), ("fspick", 433, 433), ("mount_setattr", 442, 442),
    ("bpf", 321, 280), ("perf_event_open", 298, 241), ("userfaultfd", 323, 282), ("io_uring_setup", 425, 425),
    ("io_uring_enter", 426, 426), ("io_uring_register", 427, 427), ("keyctl", 250, 219), ("add_key", 248, 217),
    ("request_key", 249, 218), ("kexec_load", 246, 104), ("kexec_file_load", 320, 294), ("init_module", 175, 105),
    ("finit_module", 313, 273), ("delete_module", 176, 106), ("reboot", 169, 142), ("swapon", 167, 224),
    ("swapoff", 168, 225), ("acct", 163, 89), ("settimeofday", 164, 170), ("clock_settime", 227, 112),
    ("adjtimex", 159, 171), ("clock_adjtime", 305, 266), ("sethostname", 170, 161), ("setdomainname", 171, 162),
    ("iopl", 172, None), ("ioperm", 173, None), ("modify_ldt", 154, None), ("uselib", 134, None),
    ("quotactl", 179, 60), ("quotactl_fd", 443, 443), ("open_by_handle_at", 304, 265),
    ("name_to_handle_at", 303, 264), ("personality", 135, 92), ("shmget", 29, 194), ("shmat", 30, 196),
    ("shmctl", 31, 195), ("msgget", 68, 186), ("msgsnd", 69, 189), ("msgrcv", 70, 188), ("msgctl", 71, 187),
    ("semget", 64, 190), ("semop", 65, 193), ("semctl", 66, 191), ("semtimedop", 220, 192), ("mq_open", 240, 180),
    ("mq_unlink", 241, 181), ("socket", 41, 198), ("connect", 42, 203), ("bind", 49, 200), ("listen", 50, 201),
    ("accept", 43, 202), ("accept4", 288, 242), ("vhangup", 153, 58), ("syslog", 103, 116),
    ("fanotify_init", 300, 262), ("fanotify_mark", 301, 263), ("inotify_init", 253, None),
    ("inotify_init1", 294, 26), ("inotify_add_watch", 254, 27), ("setpriority", 141, 140),
    ("sched_setscheduler", 144, 119), ("sched_setparam", 142, 118), ("sched_setattr", 314, 274),
    ("ioprio_set", 251, 30), ("migrate_pages", 256, 238), ("move_pages", 279, 239), ("memfd_secret", 447, 447),
    ("capset", 126, 91), ("seccomp", 317, 277), ("pidfd_send_signal", 424, 424),
)  # fmt: skip
_EXECUTE = (("execve", 59, 221), ("execveat", 322, 281))
_PATH_ATTRIBUTES = (
    # Landlock does not govern these, and what they would change may lie anywhere.
    ("chmod", 90, None), ("fchmod", 91, 52), ("fchmodat", 268, 53), ("fchmodat2", 452, 452), ("chown", 92, None),
    ("fchown", 93, 55), ("lchown", 94, None), ("fchownat", 260, 54), ("utime", 132, None), ("utimes", 235, None),
    ("futimesat", 261, None), ("utimensat", 280, 88), ("setxattr", 188, 5), ("lsetxattr", 189, 6),
    ("fsetxattr", 190, 7), ("removexattr", 197, 14), ("lremovexattr", 198, 15), ("fremovexattr", 199, 16),
    ("setxattrat", 463, 463), ("removexattrat", 466, 466),
)  # fmt: skip
_TRUNCATE = (("truncate", 76, 45),)
_UNKNOWN_TO_OLDER_LIBRARIES = (("clone3", 435, 435), ("memfd_create", 319, 279))
_ONLY_ON_ITSELF = ((302, 261), (203, 122))  # prlimit64, sched_setaffinity
_CLONE, _KILL, _TKILL, _TGKILL = (56, 220), (62, 129), (200, 130), (234, 131)
_SOCKETPAIR = (53, 199)
_LAST_KNOWN = 467
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

_NAMESPACE_FLAGS = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWCGROUP | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET
)  # fmt: skip

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_REFUSE = 0x50000 | errno.EPERM
_NOT_THERE = 0x50000 | errno.ENOSYS
_PRETEND = 0x50000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16

_SECCOMP_SET_MODE_FILTER = 1
_AF_UNIX = 1


@dataclass(frozen=True)
class Filter:
    """What varies between filters."""

    allow_exec: bool = True
    """Whether other programs (CBC) may be started."""
    sees_outside_files: bool = False
    """Paths outside the scratch directory resolve: pretend that chmod and the like worked, anywhere."""
    refuse_truncate: bool = False
    """Landlock is too old to govern truncate(2)."""
    signals_only_to: int | None = None
    """The one process that may be signalled, where neither a namespace nor Landlock keeps signals inside."""


def assemble(chosen: Filter) -> bytes:
    """Returns the BPF program for this machine.

    Raises:
        OSError: Its system calls are not known.
    """
    if syscalls.MACHINE not in _AUDIT_ARCH:
        raise OSError(errno.ENOSYS, f"no system-call table for {syscalls.MACHINE}")
    column = 0 if syscalls.MACHINE == "x86_64" else 1
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[syscalls.MACHINE]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _REFUSE),
        (_JUMP_AT_LEAST, 0, 1, _LAST_KNOWN),
        (_RETURN, 0, 0, _NOT_THERE),
    ]

    def answer(table: tuple[tuple[str, int | None, int | None], ...], verdict: int) -> None:
        for _, on_x86_64, on_aarch64 in table:
            number = (on_x86_64, on_aarch64)[column]
            if number is not None:
                code.extend([(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, verdict)])

    def only_if(number: int, jump: int, value: int, *, allowed_on_match: bool) -> None:
        on_match, otherwise = (_ALLOW, _REFUSE) if allowed_on_match else (_REFUSE, _ALLOW)
        body = [
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (jump, 0, 1, value),
            (_RETURN, 0, 0, on_match),
            (_RETURN, 0, 0, otherwise),
        ]
        code.append((_JUMP_EQUAL, 0, len(body), number))
        code.extend(body)

    answer(_NAMES, _REFUSE)
    if not chosen.allow_exec:
        answer(_EXECUTE, _REFUSE)
    if chosen.sees_outside_files:
        answer(_PATH_ATTRIBUTES, _PRETEND)
    if chosen.refuse_truncate:
        answer(_TRUNCATE, _REFUSE)
    answer(_UNKNOWN_TO_OLDER_LIBRARIES, _NOT_THERE)
    only_if(_CLONE[column], _JUMP_BITS, _NAMESPACE_FLAGS, allowed_on_match=False)
    only_if(_SOCKETPAIR[column], _JUMP_EQUAL, _AF_UNIX, allowed_on_match=True)
    for numbers in _ONLY_ON_ITSELF:
        only_if(numbers[column], _JUMP_EQUAL, 0, allowed_on_match=True)
    if chosen.signals_only_to is not None:
        answer((("tkill", *_TKILL),), _REFUSE)
        for numbers in (_KILL, _TGKILL):
            only_if(numbers[column], _JUMP_EQUAL, chosen.signals_only_to, allowed_on_match=True)
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def install(program: bytes) -> None:
    """Applies the filter to this process and all that it starts; needs no_new_privs."""
    address = ctypes.cast(ctypes.c_char_p(program), ctypes.c_void_p).value
    header = struct.pack("HxxxxxxQ", len(program) // 8, address)
    syscalls.check(syscalls.raw("seccomp", _SECCOMP_SET_MODE_FILTER, 0, header), "seccomp")
