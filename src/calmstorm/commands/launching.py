"""What `calm sft` and `calm rl` do where a recipe wants several processes: start them, or say how to."""

from __future__ import annotations

from pathlib import Path

import typer

from calmstorm.commands.console import emit, note, say
from calmstorm.settings import Recipe
from calmstorm.stages.launching import Section


def start_or_say(
    context: typer.Context, run: Path, recipe: Recipe, section: Section, launch: bool, as_json: bool
) -> None:
    """Starts a training in several processes and waits for it, or prints the command that does.

    Args:
        context: Of the command, whose words every process gets.
        run: Run directory.
        recipe: With the settings that were changed for this command.
        section: Of the recipe; also the command's name.
        launch: Start it.
        as_json: Print the command as JSON.

    Raises:
        InputError: It takes several nodes.
        WorkError: The training failed.
    """
    from calmstorm.stages import launch_of
    from calmstorm.training.launch import start

    prepared = launch_of(run, recipe, section, section, [word for word in context.obj if word != "--launch"])
    if launch:
        start(prepared)
        return
    settings = getattr(recipe, section)
    where = f"{settings.processes} processes" + (f" on each of {settings.nodes} nodes" if settings.nodes > 1 else "")
    if as_json:
        emit({"command": prepared.command, "files": str(run / "launch")})
    else:
        say(prepared.explained)
    by = "run this command" if settings.nodes > 1 else "run this command, or give --launch"
    note(f"{section} trains in {where}: {by}. Its configuration is in {run / 'launch'}")
