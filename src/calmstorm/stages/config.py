"""The settings of a run: kept when it begins, held against those of a resumed one, read by later commands."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from calmstorm.errors import InputError
from calmstorm.reasoner.opening import is_server
from calmstorm.runs import RunDirectory
from calmstorm.settings import EndpointSettings, LocalSettings, Recipe, RunConfig, ServerSettings, validate

PACE = frozenset(
    {
        "rollout.concurrency",
        "rollout.workers",
        *(f"server.{name}" for name in ServerSettings.model_fields if name != "text_only"),
        *(f"intervener.{name}" for name in EndpointSettings.model_fields),
        *(f"local.{name}" for name in LocalSettings.model_fields if name != "dtype"),
        "budget",
        "prices",
        *(
            f"{section}.{name}"
            for section in ("sft", "rl")
            for name in ("micro_batch", "checkpoint_steps", "processes", "nodes")
        ),
        *(f"rl.{name}" for name in ("generator", "servers", "sync", "instances")),
    }
)
"""Settings that say how fast a run goes, where and at what cost, and not what comes of it: they may change when it is
resumed. So may the URLs of the Reasoner's servers, as long as model and tokenizer stay."""


def config_of(recipe: Recipe, command: Literal["run", "curate", "eval"], prompt: str | None = None) -> RunConfig:
    """Returns the settings of a run that a command begins with a recipe."""
    return RunConfig.model_validate({**dict(recipe), "command": command, "prompt": prompt})


def keep_config(run: RunDirectory, config: RunConfig, may_change: frozenset[str] = PACE) -> None:
    """Writes the settings of a run, or checks that a resumed run has the same.

    A run that asked servers may go on with others: their number and addresses say nothing of the model. Where nothing
    was reviewed yet, the Intervener may still be another, or be asked otherwise: it may have refused how it was asked.

    Raises:
        SettingsError: A setting differs that may not change.
    """
    before = (run.config() or {}).get("reasoner")
    moved = isinstance(before, str) and is_server(before) and is_server(config.reasoner)
    reviewed = any(True for name in ("interventions", "reviews") for _ in run.read_rows(name))
    free = {key for key, is_free in (("reasoner", moved), ("intervener", not reviewed)) if is_free}
    run.keep_config(config, may_change | free)


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
