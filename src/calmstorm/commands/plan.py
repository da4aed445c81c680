"""`calm plan RECIPE`: what a recipe will take, before it is run: rollouts, executions, tokens, and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, say, table
from calmstorm.records import Stage
from calmstorm.settings import Recipe, load_recipe


def register(app: typer.Typer) -> None:
    """Adds `plan`."""
    app.command("plan")(plan)


def plan(
    recipe: Annotated[str, typer.Argument(help="Recipe: a name or a TOML file.", show_default=False)],
    like: Annotated[Path | None, typer.Option("--like", help="A finished run, for its speed and lengths.")] = None,
    override: options.Override = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what a recipe will take. Counts are bounds; times come from a past run or are not given."""
    settings = load_recipe(recipe, options.changes(override))
    stages = bounds(settings)
    seconds = seconds_like(like, stages) if like is not None else {}
    if as_json:
        rows = [{**stage._asdict(), "seconds": seconds.get(stage.stage)} for stage in stages]
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
                stage.stage,
                f"{stage.rollouts:,}",
                f"{stage.executions:,}",
                f"{stage.tokens:,}",
                f"{seconds[stage.stage] / 60:.1f}" if stage.stage in seconds else "-",
            ]
            for stage in stages
        ],
    )
    if like is None:
        say("Minutes need a run to go by: add --like runs/demo")


class StageBounds(NamedTuple):
    """What a stage takes at most."""

    stage: str
    """As `timing.jsonl` names it."""
    rollouts: int
    executions: int
    tokens: int


def bounds(recipe: Recipe) -> list[StageBounds]:
    """Returns the stages of a recipe with their upper bounds."""
    executions = recipe.rollout.executions
    tests = (recipe.problems.easy + recipe.problems.complex) * recipe.evaluation.samples
    samples = recipe.problems.sft * recipe.curation.samples
    attempts = samples * (recipe.curation.interventions + 1)
    steps = recipe.rl.steps or recipe.rl.epochs * (recipe.problems.rl // recipe.rl.prompts_per_step)
    drawn = steps * recipe.rl.prompts_per_step * recipe.rl.samples

    def evaluation(stage: Stage) -> StageBounds:
        return StageBounds(f"evaluate {stage}", tests, tests * executions, tests * recipe.rollout.response_tokens)

    return [
        evaluation(Stage.BASE),
        StageBounds(Stage.CURATION, attempts, attempts * executions, attempts * recipe.rollout.response_tokens),
        StageBounds(Stage.SFT, 0, 0, round(samples * recipe.sft.epochs) * recipe.sft.sequence_tokens),
        evaluation(Stage.SFT),
        StageBounds(Stage.RL, drawn, drawn * executions, drawn * recipe.rl.response_tokens),
        evaluation(Stage.RL),
    ]


def seconds_like(run: Path, stages: Sequence[StageBounds]) -> dict[str, float]:
    """Returns the seconds that each stage would take at the pace of a past run: in proportion to its rollouts.

    Args:
        run: A finished run.
        stages: What is planned.
    """
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import run_config

    with RunDirectory(run, readonly=True) as directory:
        taken = directory.seconds_by_stage()
        past = {stage.stage: stage for stage in bounds(run_config(directory))}
    seconds: dict[str, float] = {}
    for stage in stages:
        before = past[stage.stage]
        work, work_before = (stage.rollouts, before.rollouts) if stage.rollouts else (stage.tokens, before.tokens)
        if taken.get(stage.stage) and work_before:
            seconds[stage.stage] = round(taken[stage.stage] * work / work_before, 1)
    return seconds
