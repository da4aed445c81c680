"""Page faults that a script would have, taken before there is a script.

A forked process shares its parent's memory until it writes; each first write to a page then costs a fault and a copy.
Many such pages are the same for most scripts (reference counts of library objects, allocator pools). They are found
once: a child process runs a warm-up script and asks the kernel which pages it now has. A waiting child copies these
with one or two system calls, for less than the faults would cost. A kernel older than Linux 6.13 takes one call a
range instead, and before 5.14 nothing is copied in advance: scripts are slower to start, nothing else changes.

Forking and ending also take time for every page that is mapped; in huge pages there are fewer of them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from . import processes, syscalls

Range = tuple[int, int]
"""Address and bytes."""

_POPULATE_WRITE, _COLLAPSE = 23, 25
_HUGE = 2 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")
_EXCLUSIVE, _PRESENT, _FILE_OR_SHARED = 1 << 56, 1 << 63, 1 << 61
_RANGES_A_CALL = 1024
_ADDRESS = struct.Struct("Q")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.madvise.argtypes = (ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int)


def use_huge_pages() -> None:
    """Moves this process's own memory into huge pages where it fills them (Linux 6.1; does nothing before)."""
    for start, size in list(_writable_mappings()):
        for address in range(-(-start // _HUGE) * _HUGE, start + size - _HUGE + 1, _HUGE):
            _libc.madvise(address, _HUGE, _COLLAPSE)


def written_by(work: Callable[[], None]) -> tuple[Range, ...]:
    """Returns the memory that `work` writes to, by running it in a child process."""

    def report_pages(report: BinaryIO) -> None:
        mapped = list(_writable_mappings())
        work()
        for start, size in mapped:
            for address in _own_pages(start, size):
                report.write(_ADDRESS.pack(address))

    text = processes.report_of_child(report_pages)
    whole = text[: len(text) // _ADDRESS.size * _ADDRESS.size]
    return tuple(_joined([address for (address,) in _ADDRESS.iter_unpack(whole)]))


def _joined(pages: Sequence[int]) -> Iterator[Range]:
    """Joins sorted pages that lie next to each other into ranges."""
    start = end = 0
    for address in pages:
        if end == address:
            end = address + _PAGE
            continue
        if end:
            yield start, end - start
        start, end = address, address + _PAGE
    if end:
        yield start, end - start


class Prefault:
    """Copies memory of this process into a fork of it.

    Args:
        ranges: The memory to copy.
    """

    def __init__(self, ranges: tuple[Range, ...]) -> None:
        self._ranges = ranges
        flat = [number for memory_range in ranges for number in memory_range]
        self._vectors = (ctypes.c_size_t * len(flat))(*flat)

    def copy(self) -> None:
        """To be called in the fork."""
        this = os.pidfd_open(os.getpid())
        try:
            for first in range(0, len(self._ranges), _RANGES_A_CALL):
                count = min(_RANGES_A_CALL, len(self._ranges) - first)
                address = ctypes.addressof(self._vectors) + first * 2 * ctypes.sizeof(ctypes.c_size_t)
                if syscalls.raw("process_madvise", this, address, count, _POPULATE_WRITE, 0) < 0:
                    self._copy_singly(first)
                    return
        finally:
            os.close(this)

    def _copy_singly(self, first: int) -> None:
        for start, size in self._ranges[first:]:
            if _libc.madvise(start, size, _POPULATE_WRITE) != 0 and ctypes.get_errno() == errno.EINVAL:
                return  # the kernel does not know the request


def _writable_mappings() -> Iterator[Range]:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            addresses, rights, *_ = line.split()
            start, end = (int(text, 16) for text in addresses.split("-"))
            if rights == "rw-p" and "[v" not in line:
                yield start, end - start


def _own_pages(start: int, size: int) -> Iterator[int]:
    """Yields the pages of a mapping that this process owns alone."""
    wanted = _PRESENT | _EXCLUSIVE
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        entries = os.pread(pagemap.fileno(), size // _PAGE * 8, start // _PAGE * 8)
    for index, (entry,) in enumerate(struct.iter_unpack("Q", entries[: len(entries) // 8 * 8])):
        if entry & wanted == wanted and not entry & _FILE_OR_SHARED:
            yield start + index * _PAGE
