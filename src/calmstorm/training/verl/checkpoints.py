"""verl's checkpoints, `global_step_<n>`: which of them are whole, which one a training goes on from, which are kept.

verl writes the tracker file after everything else of a checkpoint, and the step's line in its log after that. A
training goes on from a checkpoint whose step is logged, so that no step is missing from the run, and none is in it
twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

TRACKER = "latest_checkpointed_iteration.txt"
_PREFIX = "global_step_"
_LAST_WRITTEN = "data.pt"
"""What verl writes into a checkpoint last."""


def checkpoint(folder: Path, step: int) -> Path:
    """Returns the directory of a step's checkpoint."""
    return folder / f"{_PREFIX}{step}"


def whole_steps(folder: Path) -> list[int]:
    """Returns the steps with a whole checkpoint, ascending."""
    steps = [int(path.name.removeprefix(_PREFIX)) for path in folder.glob(f"{_PREFIX}*") if _has_weights(path)]
    latest = _tracked(folder)
    return sorted(step for step in steps if latest is None or step <= latest)


def _has_weights(path: Path) -> bool:
    """Whether everything is there; verl empties the actor's part of checkpoints that it does not keep."""
    return (path / _LAST_WRITTEN).is_file() and any((path / "actor").glob("model_world_size_*"))


def _tracked(folder: Path) -> int | None:
    """Returns the newest whole step; None where verl was killed while it wrote that."""
    try:
        text = (folder / TRACKER).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return 0
    return int(text) if text.isdecimal() else None


def resume_step(folder: Path, logged: int) -> int:
    """Returns the step to go on after: the newest whole checkpoint whose step is logged; 0 where there is none."""
    return max((step for step in whole_steps(folder) if step <= logged), default=0)


def keep_only(folder: Path, steps: Collection[int | None]) -> None:
    """Removes the other checkpoints."""
    for path in folder.glob(f"{_PREFIX}*"):
        if int(path.name.removeprefix(_PREFIX)) not in steps:
            shutil.rmtree(path, ignore_errors=True)
