"""Progress on stderr: a bar with an estimate where a person is watching, silence where nobody is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[str], None]
"""Called for every finished unit, with a short remark that is shown beside the bar (or "")."""


@contextmanager
def track(description: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Shows a bar for a stage.

    Args:
        description: What is being done.
        total: How many units there are.
        done: How many of them an earlier run has finished.
    """
    if not sys.stderr.isatty():
        yield lambda remark: None
        return
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(description, total=total, completed=done, remark="")
        yield lambda remark: bars.update(task, advance=1, remark=remark)


def note(text: str) -> None:
    """Prints a remark about the work on stderr."""
    print(text, file=sys.stderr, flush=True)
