"""`calm curate`: the hint loop on a file of problems."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import note, show
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.intervener.protocol import Intervener
    from calmstorm.problems.benchmarks_table import Version
    from calmstorm.reasoner.opening import OpenedReasoner
    from calmstorm.records import Problem
    from calmstorm.runs import RunDirectory
    from calmstorm.settings import Recipe


def register(app: typer.Typer) -> None:
    """Adds `curate`."""
    app.command("curate")(curate)


def curate(
    problems: Annotated[
        str, typer.Option("--problems", metavar=options.PROBLEMS_METAVAR, help=f"{options.PROBLEMS_HELP}.")
    ],
    run: Annotated[Path, typer.Option("--run", help="Run directory.")],
    reasoner: options.ReasonerName = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    prompt: options.Prompt = None,
    text: options.Text = None,
    intervener: Annotated[
        str | None,
        typer.Option(
            "--intervener",
            help="rules, llm (at CALM_INTERVENER_URL), rules+llm or human.",
            show_default="the recipe's, or rules",
        ),
    ] = None,
    recipe: options.RecipeName = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that exists.")] = False,
    folder: options.Folder = None,
    download: options.Download = False,
    question: options.Question = None,
    answer: options.Answer = None,
    limit: options.Limit = None,
    override: options.Override = None,
    seed: options.Seed = None,
    max_cost: Annotated[
        float | None,
        typer.Option("--max-cost", help="Stop cleanly at so many US dollars, by the recipe's prices; over all calls."),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", help="Stop cleanly when the Reasoner wrote so many tokens; over all calls."),
    ] = None,
    max_hours: Annotated[
        float | None, typer.Option("--max-hours", help="Stop cleanly after so many hours of this call.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option("--cluster", help="Spread over a Ray cluster: auto, HOST:PORT of its head, or local.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Let the Reasoner try, and correct its first flaw by a hint, again and again; keep what is golden."""
    from calmstorm.problems.benchmarks import open_problems
    from calmstorm.stages import recipe_of

    if (run / "config.toml").exists() and not resume:
        raise InputError(f"{run}: this run exists; add --resume to go on with it, or name another directory")
    opened, version = open_problems(problems, folder, question=question, answer=answer, limit=limit, download=download)
    flags = {
        **options.reasoner_flags(model, tokenizer, prompt, text),
        "intervener.kind": intervener,
        "problems.source": version.name if version else problems,
        "seed": seed,
        "budget.cost": max_cost,
        "budget.tokens": max_tokens,
        "budget.hours": max_hours,
    }
    settings = options.recipe_for(reasoner, recipe, options.changes(override, flags), recipe_of(run))
    loaded = list(opened)
    _remark_on(loaded, version)
    _curate(settings, loaded, run, cluster, as_json)


def _remark_on(problems: Sequence[Problem], version: Version | None) -> None:
    """Says what keeps problems from being of use for training."""
    from calmstorm.grading import is_gradable
    from calmstorm.problems.benchmarks_table import Kind

    if version is not None and version.kind is Kind.TEST:
        note(f"{version.name} is for testing; to train on what is curated, draw problems with: calm problems split")
    unlabelled = sum(not is_gradable(problem) for problem in problems)
    if unlabelled:
        note(f"{unlabelled} of {len(problems)} problems have no usable label: what is curated on them cannot be golden")


def _curate(settings: Recipe, problems: Sequence[Problem], run: Path, cluster: str | None, as_json: bool) -> None:
    """Curates in a run directory, here or on a cluster, filters what is golden and shows what came of it."""
    from calmstorm.costs import require_prices
    from calmstorm.errors import BudgetSpentError, UnfinishedError
    from calmstorm.records import Stage
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import filter_golden, is_curated

    require_prices(settings)
    if cluster is not None and settings.intervener.kind == "human":
        raise InputError("--cluster asks an Intervener on every node, but it is a person: choose rules or llm")
    is_new = not (run / "config.toml").exists()
    workers = _open(settings, run) if is_new else None  # a mistake leaves no directory behind
    with RunDirectory(run) as directory:
        if not is_new:  # before anything is opened, which may take a while
            _keep(directory, settings, settings.prompt)
        stopped: UnfinishedError | BudgetSpentError | None = None
        try:
            if not is_curated(directory, settings, problems):
                _work(directory, settings, problems, workers or _open(settings, run), cluster)
        except (UnfinishedError, BudgetSpentError) as error:
            stopped = error
        if stopped is None or any(directory.places(Stage.CURATION)):
            funnel = filter_golden(directory, settings.curation)
            for words in funnel.words:
                note(words)
            show(funnel.model_dump(mode="json"), as_json)
    if stopped is not None:  # what was finished has been filtered and shown
        raise stopped


def _keep(run: RunDirectory, settings: Recipe, prompt: str | None) -> None:
    """Keeps the settings of the run; what only concerns later commands may change."""
    from calmstorm.stages import PACE, config_of, keep_config

    keep_config(run, config_of(settings, "curate", prompt), PACE | {"sft", "rl", "evaluation"})


def _open(settings: Recipe, run: Path) -> tuple[OpenedReasoner, Intervener]:
    from calmstorm.reasoner.opening import open_for

    intervener = options.intervener_of(settings, run)
    return open_for(settings), intervener


def _work(
    run: RunDirectory,
    settings: Recipe,
    problems: Sequence[Problem],
    workers: tuple[OpenedReasoner, Intervener],
    cluster: str | None,
) -> None:
    """Curates what is missing, here or on a cluster."""
    from calmstorm.interpreter import Interpreter
    from calmstorm.stages import curation_stage

    opened, asked = workers
    settings = opened.named_in(settings)
    _keep(run, settings, opened.prompt)
    if cluster is not None:
        _close(opened, asked)
        _spread(run, settings, problems, cluster)
        return
    with Interpreter(settings.rollout.workers, settings.rollout.tier) as interpreter:
        curation_stage(run, settings, problems, lambda: opened, interpreter, asked)


def _spread(run: RunDirectory, settings: Recipe, problems: Sequence[Problem], cluster: str) -> None:
    from calmstorm.cluster.curation import curate_on_cluster
    from calmstorm.reasoner.opening import open_for

    reasoner_of, intervener_of = partial(open_for, settings), partial(options.intervener_of, settings)
    curate_on_cluster(run, settings, problems, cluster, reasoner_of, intervener_of)


def _close(opened: OpenedReasoner, intervener: Intervener) -> None:
    """Closes what was opened here to learn names and to find mistakes before any node is asked."""

    async def close() -> None:
        await opened.reasoner.close()
        await intervener.close()

    asyncio.run(close())
