"""Where the engine of a model runs, and how much memory its cache of keys and values may take there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import torch

from calmstorm.errors import InputError

GIB = 2**30
USUAL_BYTES = 2 * GIB
"""What the cache takes beside other work in the same memory, where no single sequence needs more."""
GPU_RESERVE_SHARE = 0.1
"""Of a GPU's memory, kept free for activations, logits and other programs."""
GPU_RESERVE_BYTES = GIB
"""Kept free at least."""
SHARE = 0.5
"""Of free memory, which a single long sequence may take."""

_GROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Limit and use of a container's memory, in the two versions of control groups."""


class CacheBounds(NamedTuple):
    """How much memory the cache may take."""

    usual: int
    """Bytes of all sequences together."""
    most: int
    """Bytes that one sequence may take alone, where it needs more than `usual`."""


def device_of(name: str) -> torch.device:
    """Returns the device of this name; "auto" takes a GPU where there is one.

    Raises:
        InputError: There is no such device.
    """
    rule = "it must be auto, cpu, cuda or cuda:N: set local.device"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device is {name!r}; {rule}") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device is {name!r}; {rule}")
    if device.type == "cuda" and (device.index or 0) >= count:
        found = f"torch sees {count} GPU{'s' * (count != 1)} here"
        raise InputError(f"device is {name!r}, but {found}; {rule}")
    return device


def cache_bounds(device: torch.device, cache_gib: float | None, *, alone: bool) -> CacheBounds:
    """Returns what the cache may take, to be asked when the weights are in memory.

    Args:
        device: Where the model is.
        cache_gib: What the user allows, if anything.
        alone: What is free on a GPU is the cache's alone; a model that is trained needs it for other things.
    """
    if cache_gib is not None:
        return CacheBounds(int(cache_gib * GIB), int(cache_gib * GIB))
    if device.type == "cuda" and alone:
        rest = max(0, free_gpu_bytes(device) - gpu_reserve(device))
        return CacheBounds(rest, rest)
    free = free_gpu_bytes(device) if device.type == "cuda" else free_bytes()
    return CacheBounds(USUAL_BYTES, max(USUAL_BYTES, int(SHARE * free)))


def gpu_reserve(device: torch.device) -> int:
    """Returns how many bytes of a GPU the cache leaves alone."""
    _, total = torch.cuda.mem_get_info(device)
    return max(GPU_RESERVE_BYTES, int(GPU_RESERVE_SHARE * total))


def free_gpu_bytes(device: torch.device) -> int:
    """Returns how many bytes of a GPU can still be had, those that torch holds without using them included."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def free_bytes() -> int:
    """Returns how many bytes of main memory can still be had, within the limit of a container."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):  # what the system would give up of its caches included
            free = 1024 * int(line.split()[1])
    for limit, used in _GROUP_FILES:
        limit_text, used_text = _text(limit), _text(used)
        if limit_text.isdigit() and used_text.isdigit():
            free = min(free, max(0, int(limit_text) - int(used_text)))
    return free


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
