"""`calm demo`: the whole of CALM on the pocket Reasoner; `calm run pocket` with a word of caution."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, note
from calmstorm.settings import load_recipe


def register(app: typer.Typer) -> None:
    """Adds `demo`."""
    app.command("demo")(demo)


def demo(
    run: Annotated[Path, typer.Option("--run", help="Run directory; an interrupted run goes on.")] = Path("runs/demo"),
    override: options.Override = None,
    seed: options.Seed = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Adapt the pocket Reasoner: curate, fine-tune, reinforce, evaluate and report. Run it again to resume."""
    settings = load_recipe("pocket", options.changes(override, {"seed": seed}))
    if dry_run:
        emit(settings)
        return
    from calmstorm.commands.run import adapt

    note("A demonstration of the machinery on a tiny model; it is no evidence about large ones.")
    adapt(settings, run, as_json)
