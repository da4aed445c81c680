"""`calm sft`: fine-tunes a model on the golden set of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands.recipes import Override, Seed, base_directory, recipe_from
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.training.sft import SftStep


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
    from calmstorm.progress import say, track
    from calmstorm.records import GoldenTrajectory
    from calmstorm.runs import RunDirectory
    from calmstorm.training.checkpoints import completed_updates
    from calmstorm.training.sft import train_sft

    settings = recipe_from(recipe, override, seed)
    target = out or run / "models" / "sft"
    with RunDirectory(run, readonly=True) as readable:
        golden = list(readable.read("golden", GoldenTrajectory))
    if not golden:
        raise InputError(f"{run}: there are no golden trajectories in it; run calm curate and calm golden first")
    total = max(1, -(-round(settings.sft.epochs * len(golden)) // settings.sft.batch))
    with RunDirectory(run) as directory:
        done = completed_updates(target)
        directory.drop("sft", lambda row: row["step"] > done)
        with directory.stage("sft"), track("sft", total, done) as advance:

            def log(step: SftStep) -> None:
                directory.append("sft", step)
                advance(f"loss {step.loss:.3f}")

            result = train_sft(base_directory(settings), golden, target, settings.sft, seed=settings.seed, on_log=log)
    say(f"{result.steps} steps on {result.trajectories} trajectories ({result.left_out} too long)")
    typer.echo(target)
