"""What commands say and where: data on standard output, remarks on standard error.

Progress is in `calmstorm.progress`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from pydantic import BaseModel


def emit(data: BaseModel | Mapping[str, object]) -> None:
    """Prints one JSON object to standard output."""
    print(as_text(data.model_dump(mode="json") if isinstance(data, BaseModel) else data), flush=True)


def as_text(data: Mapping[str, object]) -> str:
    """Returns an object as JSON on one line."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False)


def say(text: str) -> None:
    """Prints a line for the reader to standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """Prints a remark to standard error."""
    print(text, file=sys.stderr, flush=True)


_WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""
_NAME = 32
"""Characters. Longer cells of a first column are texts and may wrap."""


def table(columns: list[str], rows: list[list[str]], title: str = "") -> None:
    """Prints a table to standard output; its cells are shown whole, and names in the first column on one line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=Text(title) if title else None, title_justify="left", show_header=any(columns))
    for number, column in enumerate(columns):
        names = not number and max((len(row[0]) for row in rows), default=0) <= _NAME
        grid.add_column(column, overflow="fold", no_wrap=names)
    for row in rows:
        grid.add_row(*map(Text, row))
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDTH
    Console(width=wide).print(grid)
