"""The settings of a run: kept when it begins, held against those of a resumed one, read by later commands."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from calmstorm.errors import InputError
from calmstorm.reasoner.opening import is_server
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe, RunConfig, validate

_ASKING = ("timeout_seconds", "connect_seconds", "retries", "concurrency", "patience_seconds")
PACE = frozenset(
    {"rollout.concurrency", "rollout.workers", "server.command", "server.instances", "server.start_seconds"}
)
PACE |= {f"{section}.{name}" for section in ("server", "intervener") for name in _ASKING}
"""Settings that say how fast a run goes and not what comes of it: they may change when it is resumed."""


def config_of(recipe: Recipe, command: Literal["run", "curate", "eval"], prompt: str | None = None) -> RunConfig:
    """Returns the settings of a run that a command begins with a recipe."""
    return RunConfig.model_validate({**dict(recipe), "command": command, "prompt": prompt})


def keep_config(run: RunDirectory, config: RunConfig, may_change: frozenset[str] = PACE) -> None:
    """Writes the settings of a run, or checks that a resumed run has the same.

    A run that asked servers may go on with others: their number and addresses say nothing of the model.

    Raises:
        SettingsError: A setting differs that may not change.
    """
    before = run.config()
    if before is not None and is_server(str(before.get("reasoner"))) and is_server(config.reasoner):
        may_change |= {"reasoner"}
    run.keep_config(config, may_change)


def run_config(run: RunDirectory) -> RunConfig:
    """Returns the settings that a run keeps.

    Raises:
        InputError: It keeps none.
        SettingsError: They are those of another version of this package.
    """
    data = run.config()
    if data is None:
        raise InputError(f"{run.path}: has no config.toml, so its recipe is not known; begin it with calm curate")
    return validate(RunConfig, data, f"{run.path}/config.toml")


def recipe_of(path: Path) -> RunConfig | None:
    """Returns the settings of a run that exists, or None where there is no run yet."""
    if not (path / "config.toml").exists():
        return None
    with RunDirectory(path, readonly=True) as run:
        return run_config(run)
