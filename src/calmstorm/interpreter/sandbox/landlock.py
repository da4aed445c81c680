"""Landlock: a process gives up the right to files, sockets and signals outside what it names, without privileges."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from . import syscalls

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCKET, _MAKE_FIFO, _MAKE_BLOCK = 1 << 6, 1 << 9, 1 << 10, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_BASE_RIGHTS = (1 << 13) - 1
_ALL_NETWORK, _ALL_SCOPES = 3, 3
_CREATE_RULESET_VERSION, _RULE_PATH_BENEATH = 1, 1

SIGNALS_SCOPED_SINCE = 6
"""First ABI that keeps signals (and abstract sockets) inside."""
TRUNCATE_SINCE = 3
"""First ABI that governs truncate(2)."""


def abi() -> int:
    """Version of Landlock that the kernel offers; 0 when there is none."""
    return max(0, syscalls.raw("landlock_create_ruleset", None, 0, _CREATE_RULESET_VERSION))


def restrict(readable: Iterable[str], writable: Iterable[str], devices: Iterable[str]) -> None:
    """Confines this process and all that it starts; needs no_new_privs.

    Args:
        readable: Trees that may be read and executed from.
        writable: Trees that may be changed, but not executed from.
        devices: Single files that may be read and written.
    """
    version = abi()
    rights = _BASE_RIGHTS
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE)):
        rights |= right if version >= since else 0
    fields = [rights, _ALL_NETWORK if version >= 4 else 0, _ALL_SCOPES if version >= SIGNALS_SCOPED_SINCE else 0]
    size = 8 if version < 4 else 16 if version < SIGNALS_SCOPED_SINCE else 24
    attributes = struct.pack("QQQ", *fields)[:size]
    ruleset = syscalls.check(syscalls.raw("landlock_create_ruleset", attributes, size, 0), "landlock_create_ruleset")
    try:
        for path in readable:
            _add(ruleset, path, (_EXECUTE | _READ_FILE | _READ_DIR) & rights)
        never = _EXECUTE | _MAKE_CHAR | _MAKE_SOCKET | _MAKE_FIFO | _MAKE_BLOCK | _IOCTL_DEVICE
        for path in writable:
            _add(ruleset, path, rights & ~never)
        for path in devices:
            _add(ruleset, path, _READ_FILE | _WRITE_FILE)
        syscalls.check(syscalls.raw("landlock_restrict_self", ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)


def _add(ruleset: int, path: str, rights: int) -> None:
    try:
        tree = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not on this machine (/lib32): nothing to allow
    try:
        if not os.path.isdir(path):
            rights &= ~_READ_DIR
        rule = struct.pack("=Qi", rights, tree)
        done = syscalls.raw("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, rule, 0)
        syscalls.check(done, f"landlock_add_rule {path}")
    finally:
        os.close(tree)
