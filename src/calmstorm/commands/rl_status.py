"""`calm rl RUN --status`: how far a reinforcement is, with all its evaluations and checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.commands.console import emit, say, table
from calmstorm.printable import percent, percent_interval

if TYPE_CHECKING:
    from calmstorm.stages.status import StepStatus


def show_status(run: Path, as_json: bool) -> None:
    """Prints it; also works while another process trains."""
    from calmstorm.stages.status import training_status

    status = training_status(run)
    if as_json:
        emit(status)
        return
    heads = ["step", "reward", "held-out pass@1", "95% interval", "best", "checkpoint", "MB", "age"]
    rows = [_row(row) for row in status.rows]
    if rows:
        table(heads, rows, title="Steps with an evaluation or a checkpoint, and the last")
    of = "" if status.steps_wanted is None else f" of {status.steps_wanted}"
    say(f"{status.state}: {status.steps}{of} steps" + (f"; {status.model}" if status.model else ""))


def _row(row: StepStatus) -> list[str]:
    stored = row.checkpoint
    return [
        str(row.step),
        "-" if row.reward is None else f"{row.reward:.3f}",
        percent(row.pass_at_1),
        percent_interval(row.ci95),
        "best" if row.best else "",
        "" if stored is None else "complete" if stored.complete else "incomplete",
        "" if stored is None else f"{stored.bytes / 1e6:,.1f}",
        "" if stored is None else _age(stored.age_seconds),
    ]


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
