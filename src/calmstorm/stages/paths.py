"""Where the stages of a run write."""

from __future__ import annotations

from pathlib import Path

from calmstorm.records import Stage
from calmstorm.runs import RunDirectory


def model_path(run: RunDirectory | Path, stage: Stage) -> Path:
    """Returns where the model of a training stage is written."""
    return (run.path if isinstance(run, RunDirectory) else run) / "models" / stage
