"""Directories of scripts where no tmpfs can be mounted: their size, and removing them."""

from __future__ import annotations

import math
import os
import stat
import time


def erase(directory: str, seconds: float = math.inf) -> None:
    """Removes a directory whatever it holds: closed directories, and nesting deeper than any path can name.

    Args:
        directory: What to remove.
        seconds: When to give up, leaving the rest for the end of the interpreter.
    """
    serial = 0
    pending = [directory]
    deadline = time.monotonic() + seconds
    while pending and time.monotonic() < deadline:
        current = pending.pop()
        try:
            os.chmod(current, stat.S_IRWXU)
            entries = list(os.scandir(current))
        except OSError:
            continue
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            if current == directory:
                pending.append(entry.path)
                continue
            # Moved to the top, so that no path ever grows.
            serial += 1
            moved = os.path.join(directory, f"\x01{serial}")
            os.chmod(entry.path, stat.S_IRWXU)
            os.rename(entry.path, moved)
            pending.append(moved)
        if current != directory:
            os.rmdir(current)
    if not pending:
        os.rmdir(directory)


def size(directory: str, at_most: int) -> int:
    """Returns bytes allocated below a directory, counting on only until `at_most` is exceeded."""
    total = 0
    pending = [directory]
    while pending and total <= at_most:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                        total += 4096
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue  # removed meanwhile, or closed by the script
    return total
