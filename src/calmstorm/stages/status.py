"""How far a reinforcement is: its steps, evaluations and checkpoints, while it trains, after a kill, and afterwards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from calmstorm.records import Record, Stage
from calmstorm.runs import RunDirectory
from calmstorm.stages.config import run_config


class StoredState(Record):
    """A checkpoint on disk."""

    complete: bool
    """Whether training can go on from it."""
    bytes: int
    age_seconds: float


class StepStatus(Record):
    """A step with a checkpoint or an evaluation, or the last one."""

    step: int
    """0 is before the first."""
    reward: float | None = None
    pass_at_1: float | None = None
    """On held-out problems, with the weights after the step."""
    ci95: tuple[float, float] | None = None
    problems: int | None = None
    samples: int | None = None
    best: bool = False
    """Highest accuracy so far, of equal ones the first."""
    checkpoint: StoredState | None = None


class TrainingStatus(Record):
    """How far a training is."""

    stage: Stage
    state: str
    """`complete`: the model is there. `unfinished`: it trains, or was interrupted. `not begun`."""
    steps: int
    """Made so far."""
    steps_wanted: int | None
    """None where a recipe counts passes over the problems."""
    model: str | None
    rows: tuple[StepStatus, ...]


def training_status(path: Path, stage: Stage = Stage.RL) -> TrainingStatus:
    """Reads how far a reinforcement is; another process may be training.

    Raises:
        InputError: There is no such run, or it has no settings.
    """
    from calmstorm.training.checkpoints import stored_checkpoints
    from calmstorm.training.watching import best_step

    with RunDirectory(path, readonly=True) as run:
        settings = run_config(run).rl
        rows = list(run.read_rows(stage))
    rewards = {row["step"]: row["reward"] for row in rows if "reward" in row}
    scores: dict[int, Mapping[str, Any]] = {row["step"]: row["evaluation"] for row in rows if "evaluation" in row}
    model, now = path / "models" / stage, time.time()
    stored = {
        kept.update // settings.updates_per_step: StoredState(
            complete=kept.complete, bytes=kept.bytes, age_seconds=round(max(0.0, now - kept.written), 1)
        )
        for kept in stored_checkpoints(model)
    }
    best = best_step({step: score["pass_at_1"] for step, score in scores.items()})
    shown = sorted({*scores, *stored, *([max(rewards)] if rewards else [])})
    return TrainingStatus(
        stage=stage,
        state="complete" if model.exists() else "unfinished" if rows or stored else "not begun",
        steps=max(rewards, default=0),
        steps_wanted=settings.steps,
        model=str(model) if model.exists() else None,
        rows=tuple(
            StepStatus(
                step=step,
                reward=rewards.get(step),
                best=step == best,
                checkpoint=stored.get(step),
                **{name: scores.get(step, {}).get(name) for name in ("pass_at_1", "ci95", "problems", "samples")},
            )
            for step in shown
        ),
    )
