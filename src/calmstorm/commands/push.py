"""`calm push`: a trained model onto the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, say, table
from calmstorm.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds `push`."""
    app.command("push")(push_command)


def push_command(
    source: Annotated[
        Path, typer.Argument(metavar="RUN|DIRECTORY", help="Run, or directory of a model.", show_default=False)
    ],
    repository: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Repository; created where it does not exist.")
    ],
    stage: Annotated[
        str | None, typer.Option("--stage", help="Which model of a run.", show_default="rl, or sft without one")
    ] = None,
    private: Annotated[bool, typer.Option("--private/--public", help="Who may see it.")] = True,
    revision: Annotated[str, typer.Option("--revision", help="Branch; created where it does not exist.")] = "main",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be uploaded and stop.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Upload a trained model with its card to the Hugging Face hub; again, and only what changed is sent.

    The token is read from HF_TOKEN, another hub's address from HF_ENDPOINT.
    """
    from calmstorm.stages.publishing import push

    pushed = push(_model(source, stage), repository, private=private, revision=revision, dry_run=dry_run)
    if as_json:
        emit(pushed)
        return
    rows = [[file.name, f"{file.bytes:,}", file.state][: 2 if dry_run else 3] for file in pushed.files]
    table(["file", "bytes", "there"][: 2 if dry_run else 3], rows)
    total = sum(file.bytes for file in pushed.files)
    if dry_run:
        say(f"{len(rows)} files, {total:,} bytes, would go to {repository} ({_visibility(private)}); nothing was sent")
    elif pushed.commit is None:
        say(f"{pushed.url} has all of it already")
    else:
        say(f"{pushed.url} ({_visibility(private)}), commit {pushed.commit[:12]}")


def _visibility(private: bool) -> str:
    return "private" if private else "public"


def _model(source: Path, stage: str | None) -> Path:
    """Returns the directory of the model that is named, its card up to date where it belongs to a run."""
    from calmstorm.records import Stage
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import model_path
    from calmstorm.stages.cards import refresh_cards

    if not (source / "config.toml").is_file():
        if stage is not None:
            raise InputError(f"--stage is {stage}, but {source} is no run: name a run, or leave it out")
        return source
    if stage is not None and stage not in set(Stage):
        raise InputError(f"--stage is {stage}; it must be rl or sft, or a stage of an experiment: correct it")
    named = [Stage(stage)] if stage is not None else [Stage.RL, Stage.SFT]
    model = next((path for each in named if (path := model_path(source, each)).is_dir()), None)
    if model is None:
        raise InputError(f"{source}: has no model of {' or '.join(named)} yet; train it with calm sft or calm rl first")
    with RunDirectory(source, readonly=True) as run:
        refresh_cards(run)
    return model
