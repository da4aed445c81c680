"""Checkpoints that survive `kill -9`, and a model directory that appears only when it is complete.

While training runs, everything lies in `<output>.work/`. A checkpoint counts once its marker file is in it, and the
marker is written last; any other is incomplete and removed. The finished model is written beside the checkpoints and
renamed to `<output>`, so that an existing output directory is always a complete one. Of several processes that train
together, only the first writes and removes; the others wait for it. They see one file system.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from calmstorm.atomic import write_atomically
from calmstorm.errors import InputError
from calmstorm.reasoner.prompting import MODEL_SETTINGS
from calmstorm.training.ranks import barrier, in_agreement, is_first

MARKER = "complete"
"""File whose presence says that a checkpoint is complete."""


def work_dir(output_dir: Path) -> Path:
    """Returns the directory of an unfinished training of `output_dir`."""
    return output_dir.with_name(output_dir.name + ".work")


def open_work(output_dir: Path, identity: Mapping[str, object]) -> Path:
    """Prepares the work directory, or finds the one of a killed training.

    Args:
        output_dir: Where the model is to stand in the end.
        identity: What the training depends on, by name; JSON values. A checkpoint is only continued
            when all of them are the same.

    Raises:
        InputError: The output exists, or the unfinished work is that of another training.
    """
    work = work_dir(output_dir)
    with in_agreement():
        if is_first():
            _prepare(work, output_dir, identity)
    return work


def _prepare(work: Path, output_dir: Path, identity: Mapping[str, object]) -> None:
    if output_dir.exists():
        raise InputError(f"{output_dir} exists; a trained model is never overwritten: remove it or name another")
    work.mkdir(parents=True, exist_ok=True)
    plan = work / "plan.json"
    digests = {name: _digest(value) for name, value in identity.items()}
    if not plan.exists():
        write_atomically(plan, json.dumps(digests, indent=1))
    recorded = json.loads(plan.read_text())
    changed = sorted(name for name in {*recorded, *digests} if recorded.get(name) != digests.get(name))
    if changed:
        raise InputError(
            f"{work} holds an unfinished training with other {', '.join(changed)}; it can only be continued "
            "unchanged: remove it to start anew"
        )


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def step_of(checkpoint: Path) -> int:
    """Returns the optimizer step a checkpoint directory was written at."""
    return int(checkpoint.name.rpartition("-")[2])


def checkpoint_of(work: Path, update: int) -> Path:
    """Returns the directory of the checkpoint of an optimizer step."""
    return work / f"checkpoint-{update}"


def mark_complete(checkpoint: Path) -> None:
    """Marks a checkpoint as complete; called by every process when it has written its files."""
    barrier()
    if is_first():
        write_atomically(checkpoint / MARKER, "")


def last_complete(work: Path) -> Path | None:
    """Returns the newest complete checkpoint and removes incomplete ones."""
    barrier()  # the first process may be about to remove what another is looking at
    complete: list[Path] = []
    for checkpoint in sorted(work.glob("checkpoint-*"), key=step_of):
        if (checkpoint / MARKER).exists():
            complete.append(checkpoint)
        elif is_first():
            shutil.rmtree(checkpoint)
    barrier()
    return complete[-1] if complete else None


class StoredCheckpoint(NamedTuple):
    """A checkpoint as it lies on disk."""

    update: int
    """Optimizer step that it was written at."""
    complete: bool
    """False while it is being written, or where that was interrupted."""
    bytes: int
    written: float
    """When it was written, seconds since the epoch."""


def stored_checkpoints(output_dir: Path) -> list[StoredCheckpoint]:
    """Returns the checkpoints of an unfinished training, ascending; changes nothing: another process may train."""
    found = []
    for path in sorted(work_dir(output_dir).glob("checkpoint-*"), key=step_of):
        with contextlib.suppress(FileNotFoundError):  # removed meanwhile
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            found.append(StoredCheckpoint(step_of(path), (path / MARKER).exists(), size, path.stat().st_mtime))
    return found


def completed_updates(output_dir: Path) -> int:
    """Returns the optimizer step that a training of `output_dir` would resume after; 0 when it would start anew."""
    checkpoint = last_complete(work_dir(output_dir))
    return 0 if checkpoint is None else step_of(checkpoint)


def publish(staged: Path, prompt: str, output_dir: Path) -> None:
    """Turns a staged model directory into the finished output and removes the work directory; the first process does.

    Args:
        staged: The saved model, inside the work directory.
        prompt: Name of the prompt that it was trained with; its `calmstorm.json` says so.
        output_dir: Where the model is to stand.
    """
    if is_first():
        write_atomically(staged / MODEL_SETTINGS, json.dumps({"prompt": prompt}) + "\n")
        staged.rename(output_dir)
        shutil.rmtree(work_dir(output_dir), ignore_errors=True)
    barrier()
