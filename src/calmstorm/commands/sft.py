"""`calm sft`: fine-tunes the Reasoner of a run on its golden set, or on pairs without reasoning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, say
from calmstorm.commands.launching import start_or_say
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.records import GoldenTrajectory


def register(app: typer.Typer) -> None:
    """Adds `sft`."""
    app.command("sft")(sft)


def sft(
    context: typer.Context,
    run: options.Run,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Model directory or hub id to fine-tune.", show_default="the run's Reasoner"),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Model directory to write; RUN/models/sft.")] = None,
    pairs: options.Pairs = None,
    question: options.Question = None,
    launch: options.Launch = False,
    override: options.Override = None,
    seed: options.Seed = None,
    stage: options.LaunchedStage = None,
    as_json: options.AsJson = False,
) -> None:
    """Fine-tune the run's Reasoner gently on its golden trajectories, or on pairs. Run it again to resume."""
    from calmstorm.records import Stage
    from calmstorm.runs import RunDirectory
    from calmstorm.settings import changed
    from calmstorm.stages import fine_tune, is_to_be_launched, keep_config, model_path, run_config, shared_run
    from calmstorm.stages.pairs import pairs_of
    from calmstorm.training import ranks

    ranks.begin()
    with ranks.in_agreement():
        with RunDirectory(run, readonly=True) as readable:
            config = run_config(readable)
        recipe = changed(config, options.changes(override, {"seed": seed}), f"{run}/config.toml")
        base = options.base_directory(recipe, start)
        golden = _golden(run, stage) if pairs is None else pairs_of(pairs, base, question)
        kind = Stage(stage or Stage.SFT)
        target = out or model_path(run, kind)
        if target.exists():
            raise InputError(
                f"{target} exists; a trained model is never overwritten: remove it or name another with --out"
            )
        elsewhere = is_to_be_launched(recipe, "sft")
    if elsewhere:
        start_or_say(context, run, recipe, "sft", launch, as_json)
        return

    def begin(directory: RunDirectory) -> None:
        if stage is None:
            keep_config(directory, config.model_copy(update={"sft": recipe.sft}), frozenset({"sft"}))

    with shared_run(run, begin) as directory:
        fine_tune(directory, recipe, base, golden, kind, output=target)
    ranks.part()
    emit({"model": str(target)}) if as_json else say(str(target))


def _golden(run: Path, stage: str | None) -> list[GoldenTrajectory]:
    """Returns what is learned: the run's golden set, or what a pipeline has a stage trained on."""
    from calmstorm.records import GoldenTrajectory, Stage
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import launched_data

    if stage is not None:
        return launched_data(run, Stage(stage), GoldenTrajectory)
    with RunDirectory(run, readonly=True) as readable:
        golden = list(readable.read("golden", GoldenTrajectory))
    if not golden:
        raise InputError(
            f"{run}: there are no golden trajectories in it; run calm curate and calm golden first, or give --pairs"
        )
    return golden
