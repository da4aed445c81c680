"""What commands print to standard output: one JSON object, lines, tables. Remarks go through `calmstorm.progress`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from pydantic import BaseModel

from calmstorm.progress import note as note


def emit(data: BaseModel | Mapping[str, object]) -> None:
    """Prints one JSON object."""
    say(as_text(data.model_dump(mode="json", by_alias=True) if isinstance(data, BaseModel) else data))


def as_text(data: Mapping[str, object]) -> str:
    """Returns an object as JSON on one line."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False)


def say(text: str) -> None:
    """Prints a line."""
    print(text, flush=True)


def show(summary: Mapping[str, object], as_json: bool) -> None:
    """Prints a summary, for a program or for a person."""
    if as_json:
        emit(summary)
        return
    width = max(map(len, summary))
    for key, value in summary.items():
        say(f"{key:<{width}}  {value}")


_WIDTH = 120
"""Columns of a table that goes to a file or a pipe."""
_NAME = 32
"""Characters. Longer cells of a first column are texts and may wrap."""


def table(columns: list[str], rows: list[list[str]], title: str = "") -> None:
    """Prints a table; its cells are shown whole, and names in the first column on one line."""
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
