"""`calm golden`: filters the curated trajectories of a run, and exports what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import note, show
from calmstorm.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds `golden`."""
    app.command("golden")(golden)


def golden(
    run: options.Run,
    out: Annotated[Path | None, typer.Option("--out", help="Also export the golden set to this file.")] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="Of --out: jsonl, parquet or messages (chat messages with masks).", show_default="jsonl"
        ),
    ] = None,
    override: options.Override = None,
    as_json: options.AsJson = False,
) -> None:
    """Filter curated trajectories: correct and flawless; curation.golden=strict asks for more. Export what is left."""
    from calmstorm.curation.export import export
    from calmstorm.records import GoldenTrajectory
    from calmstorm.runs import RunDirectory
    from calmstorm.settings import changed
    from calmstorm.stages import filter_golden, keep_config, run_config

    if form is not None and out is None:
        raise InputError(f"--format is '{form}', but nothing is exported: name a file with --out")
    with RunDirectory(run, readonly=True) as readable:  # a run that is not there is refused, not made
        config = changed(run_config(readable), options.changes(override), f"{run}/config.toml")
    with RunDirectory(run) as directory:
        if override:
            keep_config(directory, config, frozenset({"curation.golden", "curation.golden_tokens"}))
        funnel = filter_golden(directory, config.curation)
        for words in funnel.words:
            note(words)
        summary: dict[str, object] = funnel.model_dump(mode="json")
        if out is not None:
            count = export(directory.read("golden", GoldenTrajectory), out, form or "jsonl", prompt=config.prompt)
            summary |= {"exported": count, "file": str(out)}
    show(summary, as_json)
