"""`calm curate`: the hint loop on a file of problems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands.console import note, show
from calmstorm.commands.options import (
    PROBLEMS_HELP,
    PROBLEMS_METAVAR,
    Answer,
    AsJson,
    Download,
    Folder,
    Limit,
    Model,
    Override,
    Question,
    ReasonerName,
    RecipeName,
    Seed,
    changes,
    intervener_of,
    recipe_for,
)
from calmstorm.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds `curate`."""
    app.command("curate")(curate)


def curate(
    problems: Annotated[str, typer.Option("--problems", metavar=PROBLEMS_METAVAR, help=f"{PROBLEMS_HELP}.")],
    run: Annotated[Path, typer.Option("--run", help="Run directory.")],
    reasoner: ReasonerName = None,
    model: Model = None,
    intervener: Annotated[
        str | None,
        typer.Option(
            "--intervener",
            help="rules, llm (at CALM_INTERVENER_URL) or human.",
            show_default="the recipe's, or rules",
        ),
    ] = None,
    recipe: RecipeName = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that exists.")] = False,
    folder: Folder = None,
    download: Download = False,
    question: Question = None,
    answer: Answer = None,
    limit: Limit = None,
    override: Override = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Let the Reasoner try, and correct its first flaw by a hint, again and again; keep what is golden."""
    from calmstorm.interpreter import Interpreter
    from calmstorm.problems.benchmarks import Kind, open_problems
    from calmstorm.reasoner.opening import open_reasoner
    from calmstorm.runs import RunDirectory
    from calmstorm.settings import RunConfig
    from calmstorm.stages import curation_stage, filter_golden, keep_config

    if (run / "config.toml").exists() and not resume:
        raise InputError(f"{run}: this run exists; add --resume to go on with it, or name another directory")
    opened_problems, version = open_problems(
        problems, folder, question=question, answer=answer, limit=limit, download=download
    )
    source = version.name if version else problems
    flags = {"model": model, "curation.intervener": intervener, "problems.source": source, "seed": seed}
    settings = recipe_for(reasoner, recipe, changes(override, flags))
    loaded = list(opened_problems)
    if version is not None and version.kind is Kind.TEST:
        note(f"{version.name} is for testing; to train on what is curated, draw problems with: calm problems split")
    asked = intervener_of(settings)
    opened = open_reasoner(settings.reasoner, settings.model)
    with RunDirectory(run) as directory, Interpreter(settings.rollout.workers, settings.rollout.tier) as interpreter:
        keep_config(directory, RunConfig(**dict(settings), command="curate", prompt=opened.prompt))
        curation_stage(directory, settings, loaded, lambda: opened, interpreter, asked)
        funnel = filter_golden(directory, settings.curation.golden_tokens)
    show(funnel.model_dump(mode="json"), as_json)
