"""What commands say and where: data on standard output, remarks on standard error.

Progress is in `calmstorm.progress`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from pydantic import BaseModel


def emit(data: BaseModel | Mapping[str, object]) -> None:
    """Prints one JSON object to standard output."""
    plain = data.model_dump(mode="json") if isinstance(data, BaseModel) else data
    print(json.dumps(plain, ensure_ascii=False, allow_nan=False), flush=True)


def say(text: str) -> None:
    """Prints a line for the reader to standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """Prints a remark to standard error."""
    print(text, file=sys.stderr, flush=True)


def table(columns: list[str], rows: list[list[str]], title: str = "") -> None:
    """Prints a table to standard output; its cells are shown as they are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(*columns, title=Text(title) if title else None, title_justify="left", show_header=any(columns))
    for row in rows:
        grid.add_row(*map(Text, row))
    Console().print(grid)
