"""`calm golden`: filters the curated trajectories of a run, and exports what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import show


def register(app: typer.Typer) -> None:
    """Adds `golden`."""
    app.command("golden")(golden)


def golden(
    run: options.Run,
    out: Annotated[Path | None, typer.Option("--out", help="Also export the golden set to this file.")] = None,
    form: Annotated[
        str, typer.Option("--format", help="jsonl, parquet or messages (chat messages with masks).")
    ] = "jsonl",
    as_json: options.AsJson = False,
) -> None:
    """Filter curated trajectories: correct, flawless, within limits, backed by a solve. Export what is left."""
    from calmstorm.curation.export import export
    from calmstorm.records import GoldenTrajectory
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import filter_golden, run_config

    RunDirectory(run, readonly=True)  # a run that is not there is refused, not made
    with RunDirectory(run) as directory:
        funnel = filter_golden(directory, run_config(directory).curation.golden_tokens)
        summary: dict[str, object] = funnel.model_dump(mode="json")
        if out is not None:
            count = export(directory.read("golden", GoldenTrajectory), out, form)
            summary |= {"exported": count, "file": str(out)}
    show(summary, as_json)
