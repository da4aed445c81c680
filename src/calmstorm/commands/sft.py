"""`calm sft`: fine-tunes the Reasoner of a run on its golden set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, say
from calmstorm.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds `sft`."""
    app.command("sft")(sft)


def sft(
    run: options.Run,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Model directory or hub id to fine-tune.", show_default="the run's Reasoner"),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Model directory to write; RUN/models/sft.")] = None,
    override: options.Override = None,
    seed: options.Seed = None,
    as_json: options.AsJson = False,
) -> None:
    """Fine-tune the run's Reasoner gently on its golden trajectories. Run it again to resume."""
    from calmstorm.records import GoldenTrajectory, Stage
    from calmstorm.runs import RunDirectory
    from calmstorm.settings import changed
    from calmstorm.stages import fine_tune, keep_config, model_path, run_config

    with RunDirectory(run, readonly=True) as readable:
        golden = list(readable.read("golden", GoldenTrajectory))
        config = run_config(readable)
    if not golden:
        raise InputError(f"{run}: there are no golden trajectories in it; run calm curate and calm golden first")
    recipe = changed(config, options.changes(override, {"seed": seed}), f"{run}/config.toml")
    base = options.base_directory(recipe, start)
    target = out or model_path(run, Stage.SFT)
    if target.exists():
        raise InputError(f"{target} exists; a trained model is never overwritten: remove it or name another with --out")
    with RunDirectory(run) as directory:
        keep_config(directory, config.model_copy(update={"sft": recipe.sft}), frozenset({"sft"}))
        fine_tune(directory, recipe, base, golden, output=target)
    emit({"model": str(target)}) if as_json else say(str(target))
