"""Maps and copies the pages that scripts will use, before there is a script.

A forked process shares its parent's memory until it writes, and maps library code anew; each first use of a page then
costs a fault. Many such pages are the same for most scripts (reference counts of library objects, allocator pools,
solver code), so scouts find them once: each runs a warm-up script and asks the kernel which pages it now has. What at
least two of them have, a parked child gets with a few hundred system calls while it waits; more would make scripts
that need little pay for those that need much. Where the kernel is too old for that (before Linux 5.14) nothing is
touched, and scripts are slower to start, no less.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

Range = tuple[int, int, int]
"""Address, bytes, and the advice that brings the pages in."""

_POPULATE_READ, _POPULATE_WRITE = 22, 23
_PAGE = os.sysconf("SC_PAGE_SIZE")
_EXCLUSIVE, _PRESENT, _FILE_OR_SHARED = 1 << 56, 1 << 63, 1 << 61
_JOIN_PAGES = 1
"""Pages in between that cost less to copy than another system call."""
_PAIR = struct.Struct("QQ")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)


def used_by_most(works: Sequence[Callable[[], None]]) -> tuple[Range, ...]:
    """Returns the memory that at least two of `works` use (the only one, of one), running each in a child."""
    counts: Counter[tuple[int, int]] = Counter()
    for work in works:
        counts.update(_used_by(work))
    chosen = sorted(page for page, count in counts.items() if count >= min(2, len(works)))
    return tuple(_joined(chosen))


def _used_by(work: Callable[[], None]) -> list[tuple[int, int]]:
    """Returns (advice, address) of the pages that `work` uses, by running it in a throw-away child."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(told)
            mapped = list(_private_mappings())
            work()
            with open(tell, "wb") as report:
                for start, size, advice in mapped:
                    for address in _pages(start, size, advice):
                        report.write(_PAIR.pack(advice, address))
        finally:
            os._exit(0)
    os.close(tell)
    with open(told, "rb") as report:
        text = report.read()
    os.waitpid(child, 0)
    return list(_PAIR.iter_unpack(text[: len(text) // _PAIR.size * _PAIR.size]))


def _joined(pages: list[tuple[int, int]]) -> Iterator[Range]:
    """Joins sorted pages that lie next to each other, or nearly so, into ranges."""
    start = end = advice = 0
    for kind, address in pages:
        if kind == advice and address - end <= _JOIN_PAGES * _PAGE:
            end = address + _PAGE
            continue
        if end:
            yield start, end - start, advice
        start, end, advice = address, address + _PAGE, kind
    if end:
        yield start, end - start, advice


def touch(ranges: tuple[Range, ...]) -> None:
    """Brings the memory in `ranges` into this process, copying what it may write to."""
    for start, size, advice in ranges:
        if _libc.madvise(start, size, advice) != 0 and ctypes.get_errno() == errno.EINVAL:
            return  # the kernel does not know the request


def _private_mappings() -> Iterator[Range]:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            addresses, rights, *_ = line.split()
            start, end = (int(text, 16) for text in addresses.split("-"))
            if rights.startswith("r") and rights.endswith("p") and "[v" not in line:
                yield start, end - start, _POPULATE_WRITE if rights[1] == "w" else _POPULATE_READ


def _pages(start: int, size: int, advice: int) -> Iterator[int]:
    """Yields the pages of a mapping that this process owns alone, or, of a read-only one, has at all."""
    wanted = _PRESENT | _EXCLUSIVE if advice == _POPULATE_WRITE else _PRESENT
    unwanted = _FILE_OR_SHARED if advice == _POPULATE_WRITE else 0
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        entries = os.pread(pagemap.fileno(), size // _PAGE * 8, start // _PAGE * 8)
    for index, (entry,) in enumerate(struct.iter_unpack("Q", entries[: len(entries) // 8 * 8])):
        if entry & wanted == wanted and not entry & unwanted:
            yield start + index * _PAGE
