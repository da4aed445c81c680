"""`calm run RECIPE`: the whole of CALM, from problems to a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit
from calmstorm.errors import WorkError
from calmstorm.settings import Recipe, load_recipe


def register(app: typer.Typer) -> None:
    """Adds `run`."""
    app.command("run")(run_command)


def run_command(
    recipe: Annotated[str, typer.Argument(help="Recipe: a name or a TOML file.", show_default=False)],
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run directory; an interrupted run goes on.", show_default="runs/<recipe>"),
    ] = None,
    override: options.Override = None,
    seed: options.Seed = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Adapt a Reasoner: curate, fine-tune, reinforce, evaluate and report. Run it again to resume."""
    settings = load_recipe(recipe, options.changes(override, {"seed": seed}))
    if dry_run:
        emit(settings)
        return
    adapt(settings, run or Path("runs") / settings.name, as_json)


def adapt(recipe: Recipe, path: Path, as_json: bool) -> None:
    """Runs the pipeline of a recipe in a run directory, and reports."""
    from calmstorm.commands.report import report
    from calmstorm.pipeline import Adaptation
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import keep_config

    settings = options.run_settings(recipe)
    with RunDirectory(path) as run:
        keep_config(run, settings)
        adaptation = Adaptation(settings, run, options.base_directory(settings), options.intervener_of(settings, path))
        adaptation.execute()
    report([path], as_json=as_json)
    refuse_unfinished(adaptation.unfinished)


def refuse_unfinished(stages: list[str]) -> None:
    """Ends the command with a failure where stages are not complete.

    Raises:
        WorkError: Some are not.
    """
    if stages:
        raise WorkError(f"not complete: {'; '.join(stages)}; run the same command again to complete what is missing")
