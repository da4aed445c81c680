"""Seeds that depend on what is drawn and not on the order in which it is drawn."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *parts: str | int) -> int:
    """Returns a seed in [0, 2**31) that depends on nothing but its arguments, whatever ran before or alongside."""
    text = "\x1f".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
