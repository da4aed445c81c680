"""`calm curate`: the hint loop on a file of problems."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands.console import note
from calmstorm.commands.recipes import Override, Seed, recipe_from
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.intervener.protocol import Intervener
    from calmstorm.settings import Recipe


def register(app: typer.Typer) -> None:
    """Adds `curate`."""
    app.command("curate")(curate)


def curate(
    problems: Annotated[
        str,
        typer.Option(
            "--problems",
            metavar="FILE|NAME",
            help="A file (JSON Lines, JSON, CSV or parquet) or a benchmark (nl4opt, nl4opt/llmopt).",
        ),
    ],
    run: Annotated[Path, typer.Option("--run", help="Run directory.")],
    reasoner: Annotated[
        str, typer.Option("--reasoner", help="pocket, a model directory, or a server's URL.")
    ] = "pocket",
    model: Annotated[str | None, typer.Option("--model", help="Model name, where the Reasoner is a server.")] = None,
    intervener: Annotated[
        str, typer.Option("--intervener", help="rules, llm (at CALM_INTERVENER_URL) or human.")
    ] = "rules",
    recipe: Annotated[
        str | None, typer.Option(help="Recipe for everything else; pocket for the pocket Reasoner.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that exists.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Folder of benchmark data; else that of CALM_BENCHMARKS.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch a benchmark that is not there from the Hugging Face hub.")
    ] = False,
    question: Annotated[str | None, typer.Option("--question", help="Column with the problem text.")] = None,
    answer: Annotated[str | None, typer.Option("--answer", help="Column with the label.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Take the first N problems.")] = None,
    override: Override = None,
    seed: Seed = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary on stdout as JSON.")] = False,
) -> None:
    """Let the Reasoner try, and correct its first flaw by a hint, again and again; keep what is golden."""
    from calmstorm.commands.reasoners import open_reasoner
    from calmstorm.interpreter import Interpreter
    from calmstorm.problems.benchmarks import open_problems
    from calmstorm.problems.benchmarks_table import Kind
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import curate_samples, filter_golden

    settings = recipe_from(recipe or ("pocket" if reasoner == "pocket" else None), override, seed)
    if (run / "config.toml").exists() and not resume:
        raise InputError(f"{run}: this run exists; add --resume to go on with it, or name another directory")
    opened, version = open_problems(problems, folder, question=question, answer=answer, limit=limit, download=download)
    loaded = list(opened)
    if version is not None and version.kind is Kind.TEST:
        note(f"{version.name} is for testing; to train on what is curated, draw problems with: calm problems split")
    asked = intervener_named(intervener, settings)
    chosen = open_reasoner(reasoner, model).reasoner
    with RunDirectory(run) as directory, Interpreter(settings.rollout.workers, settings.rollout.tier) as interpreter:
        directory.keep_config(
            {
                **settings.model_dump(mode="json"),
                "source": version.name if version else problems,
                "intervener": intervener,
                "reasoner": reasoner,
            }
        )
        known = {row["id"] for row in directory.read_rows("problems")}
        for problem in loaded:
            if problem.id not in known:
                directory.append("problems", problem)

        async def work() -> None:
            try:
                await curate_samples(directory, settings, loaded, chosen, interpreter, asked)
            finally:
                await asked.close()
                await chosen.close()

        asyncio.run(work())
        funnel = filter_golden(directory, settings.curation.golden_tokens)
    show(funnel.model_dump(mode="json"), as_json)


def intervener_named(name: str, settings: Recipe) -> Intervener:
    """Returns an Intervener by its name.

    Raises:
        InputError: there is none of that name.
    """
    if name == "rules":
        from calmstorm.intervener.rules import RulesIntervener

        return RulesIntervener(settings.seed)
    if name == "human":
        from calmstorm.intervener.human import HumanIntervener

        return HumanIntervener()
    if name == "llm":
        from calmstorm.intervener.llm import LlmIntervener

        return LlmIntervener(
            settings.curation.intervener_model,
            temperature=settings.curation.intervener_temperature,
            top_p=settings.curation.intervener_top_p,
        )
    raise InputError(f"intervener is '{name}'; it must be rules, llm or human: set --intervener")


def show(summary: dict[str, object], as_json: bool) -> None:
    """Prints a summary, for a program or for a person."""
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
        return
    width = max(map(len, summary))
    for key, value in summary.items():
        typer.echo(f"{key:<{width}}  {value}")
