"""`calm demo`: the whole of CALM on the pocket Reasoner, from problems to a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands.console import emit
from calmstorm.commands.recipes import Override, Seed, recipe_from


def register(app: typer.Typer) -> None:
    """Adds `demo`."""
    app.command("demo")(demo)


def demo(
    run: Annotated[Path, typer.Option("--run", help="Run directory; an interrupted run goes on.")] = Path("runs/demo"),
    recipe: Annotated[str, typer.Option(help="Recipe: a name or a TOML file.")] = "pocket",
    override: Override = None,
    seed: Seed = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the settings and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print report.json on stdout.")] = False,
) -> None:
    """Adapt the pocket Reasoner: curate, fine-tune, reinforce, evaluate and report. Run it again to resume."""
    settings = recipe_from(recipe, override, seed)
    if dry_run:
        typer.echo(settings.model_dump_json(indent=1))
        return
    from calmstorm.commands.recipes import base_directory, load_local
    from calmstorm.commands.report import report
    from calmstorm.intervener.rules import RulesIntervener
    from calmstorm.pipeline import Adaptation
    from calmstorm.progress import say
    from calmstorm.report import write_report
    from calmstorm.runs import RunDirectory

    base = base_directory(settings)
    say("A demonstration of the machinery on a tiny model; it is no evidence about large ones.")
    with RunDirectory(run) as directory:
        directory.keep_config(settings)
        Adaptation(settings, directory, base, load_local, RulesIntervener(settings.seed)).execute()
    if as_json:
        emit(write_report(run))
    else:
        report([run])
