"""`calm plan RECIPE`: what a recipe will take, before it is run: rollouts, executions, tokens, and time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands.console import emit, say, table
from calmstorm.commands.options import AsJson, Override, changes
from calmstorm.settings import Recipe, load_recipe


def register(app: typer.Typer) -> None:
    """Adds `plan`."""
    app.command("plan")(plan)


def plan(
    recipe: Annotated[str, typer.Argument(help="Recipe: a name or a TOML file.", show_default=False)],
    like: Annotated[Path | None, typer.Option("--like", help="A finished run, for its speed and lengths.")] = None,
    override: Override = None,
    as_json: AsJson = False,
) -> None:
    """Say what a recipe will take. Counts are bounds; times come from a past run or are not given."""
    settings = load_recipe(recipe, changes(override))
    stages = bounds(settings)
    measured = seconds_like(like, stages) if like is not None else {}
    rows = [{**stage, "seconds": measured.get(str(stage["stage"]))} for stage in stages]
    if as_json:
        emit(
            {
                "recipe": settings.name,
                "reasoner": settings.reasoner,
                "stages": rows,
                "like": str(like) if like else None,
            }
        )
        return
    table(
        ["stage", "rollouts, at most", "executions, at most", "tokens, at most", "minutes"],
        [
            [
                str(row["stage"]),
                f"{row['rollouts']:,}",
                f"{row['executions']:,}",
                f"{row['tokens']:,}",
                f"{row['seconds'] / 60:.1f}" if isinstance(row["seconds"], float) else "-",
            ]
            for row in rows
        ],
    )
    if like is None:
        say("Minutes need a run to go by: add --like runs/demo")


def bounds(recipe: Recipe) -> list[dict[str, str | int]]:
    """Returns the stages of a recipe with their upper bounds."""
    tests = (recipe.problems.easy + recipe.problems.complex) * recipe.evaluation.samples
    curated = recipe.problems.sft * recipe.curation.samples
    steps = recipe.rl.steps or recipe.rl.epochs * (recipe.problems.rl // recipe.rl.prompts_per_step)
    evaluation = _stage("", tests, recipe.rollout.response_tokens, recipe)
    return [
        {**evaluation, "stage": "evaluate base"},
        _stage("curation", curated * (recipe.curation.interventions + 1), recipe.rollout.response_tokens, recipe),
        {
            "stage": "sft",
            "rollouts": 0,
            "executions": 0,
            "tokens": round(curated * recipe.sft.epochs) * recipe.sft.sequence_tokens,
        },
        {**evaluation, "stage": "evaluate sft"},
        _stage("rl", steps * recipe.rl.prompts_per_step * recipe.rl.samples, recipe.rl.response_tokens, recipe),
        {**evaluation, "stage": "evaluate rl"},
    ]


def _stage(name: str, rollouts: int, tokens: int, recipe: Recipe) -> dict[str, str | int]:
    return {
        "stage": name,
        "rollouts": rollouts,
        "executions": rollouts * recipe.rollout.executions,
        "tokens": rollouts * tokens,
    }


def seconds_like(run: Path, stages: list[dict[str, str | int]]) -> dict[str, float]:
    """Returns the seconds that each stage would take at the pace of a past run: in proportion to its rollouts.

    Args:
        run: A finished run.
        stages: What is planned.
    """
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import run_config

    with RunDirectory(run, readonly=True) as directory:
        taken = directory.seconds_by_stage()
        past = run_config(directory)
    before = {str(stage["stage"]): stage for stage in bounds(past)}
    seconds: dict[str, float] = {}
    for stage in stages:
        name = str(stage["stage"])
        unit = "rollouts" if stage["rollouts"] else "tokens"
        if taken.get(name) and before[name][unit]:
            seconds[name] = round(taken[name] * int(stage[unit]) / int(before[name][unit]), 1)
    return seconds
