"""Which of the processes that train together this one is.

A launcher (torchrun, accelerate) starts the same command several times and says in the environment which is which.
Only the first writes to the run, prints, and shows progress.
"""

from __future__ import annotations

import os


def rank() -> int:
    """Returns the number of this process, from 0; 0 where there is no launcher."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Returns how many processes train together; 1 where there is no launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return rank() == 0
