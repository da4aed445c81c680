"""What the stages of a recipe take at most: rollouts, executions, tokens; and how long at a given pace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from calmstorm.problems.splits import PAPER_SIZES, Part
from calmstorm.records import Stage
from calmstorm.settings import Recipe
from calmstorm.stages.problems import GENERATED


class StageBounds(NamedTuple):
    """What a stage takes at most."""

    stage: str
    """As `timing.jsonl` names it."""
    rollouts: int
    executions: int
    tokens: int
    """Of responses; for `sft` those that are trained on."""


class ProblemCounts(NamedTuple):
    """Problems of a run by part."""

    sft: int
    rl: int
    test: int
    assumed: bool = False
    """The source is not there, so that the sizes are those of the recipe and of the paper's table 4."""


def problem_counts(recipe: Recipe) -> ProblemCounts:
    """Returns how many problems a run of the recipe would have."""
    sizes = recipe.problems
    if sizes.source == GENERATED:
        return ProblemCounts(sizes.sft, sizes.rl, sizes.easy + sizes.complex)
    folder = Path(sizes.source)
    if not all((folder / f"{part}.jsonl").is_file() for part in Part):
        return ProblemCounts(sizes.sft, sizes.rl, sum(size.test for size in PAPER_SIZES.values()), assumed=True)
    sft, rl, test = (_rows(folder / f"{part}.jsonl") for part in (Part.SFT, Part.RL, Part.TEST))
    return ProblemCounts(min(sft, sizes.sft), min(rl, sizes.rl), test)


def _rows(path: Path) -> int:
    with path.open("rb") as file:
        return sum(bool(line.strip()) for line in file)


def bounds(recipe: Recipe) -> list[StageBounds]:
    """Returns the stages of a recipe with their upper bounds."""
    problems = problem_counts(recipe)
    executions = recipe.rollout.executions
    tests = problems.test * recipe.evaluation.samples
    samples = problems.sft * recipe.curation.samples
    attempts = samples * (recipe.curation.interventions + 1)
    steps = recipe.rl.steps or recipe.rl.epochs * (problems.rl // recipe.rl.prompts_per_step)
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


def seconds_at(
    stages: Sequence[StageBounds], tokens_per_second: float, executions_per_second: float | None
) -> dict[str, float]:
    """Returns the seconds of the rollouts of each stage at a given pace; scripts run while others decode.

    Args:
        stages: What is planned; those without rollouts get no time.
        tokens_per_second: That all servers write together.
        executions_per_second: Of all interpreter workers together; None means that scripts are no bottleneck.
    """
    return {
        stage.stage: round(
            max(
                stage.tokens / tokens_per_second,
                stage.executions / executions_per_second if executions_per_second else 0.0,
            ),
            1,
        )
        for stage in stages
        if stage.rollouts
    }
