"""Whole files that are never seen half written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


def write_atomically(path: Path, text: str) -> None:
    """Writes a whole file so that a reader, or a kill, sees the old one or the new one and nothing between."""
    with writing_atomically(path) as file:
        file.write(text)


@contextmanager
def writing_atomically(path: Path) -> Iterator[TextIO]:
    """Opens a file to be written piece by piece; it takes the place of the old one when it is whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
