"""`calm sft`: fine-tunes a model on the golden set of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands.recipes import Override, Seed, base_directory, recipe_from
from calmstorm.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds `sft`."""
    app.command("sft")(sft)


def sft(
    run: Annotated[Path, typer.Argument(help="Run directory with a golden set.", show_default=False)],
    recipe: Annotated[str, typer.Option(help="Recipe: a name or a TOML file.")] = "pocket",
    out: Annotated[Path | None, typer.Option("--out", help="Model directory to write; RUN/models/sft.")] = None,
    override: Override = None,
    seed: Seed = None,
) -> None:
    """Fine-tune the recipe's model gently on golden trajectories. Run it again to resume."""
    from calmstorm.progress import say
    from calmstorm.records import GoldenTrajectory
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import fine_tune

    settings = recipe_from(recipe, override, seed)
    with RunDirectory(run, readonly=True) as readable:
        golden = list(readable.read("golden", GoldenTrajectory))
    if not golden:
        raise InputError(f"{run}: there are no golden trajectories in it; run calm curate and calm golden first")
    target = out or run / "models" / "sft"
    with RunDirectory(run) as directory:
        result = fine_tune(directory, base_directory(settings), golden, target, settings)
    say(f"{result.steps} steps on {result.trajectories} trajectories ({result.left_out} too long)")
    typer.echo(target)
