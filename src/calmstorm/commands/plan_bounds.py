"""What the stages of a recipe take at most: rollouts, executions, tokens."""

from __future__ import annotations

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
    trained: int = 0
    """Tokens that go through the trainer, prompts included."""


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

    learned = round(samples * recipe.sft.epochs) * recipe.sft.sequence_tokens
    reinforced = drawn * (recipe.rl.prompt_tokens + recipe.rl.response_tokens)

    def evaluation(stage: Stage) -> StageBounds:
        return StageBounds(f"evaluate {stage}", tests, tests * executions, tests * recipe.rollout.response_tokens)

    return [
        evaluation(Stage.BASE),
        StageBounds(Stage.CURATION, attempts, attempts * executions, attempts * recipe.rollout.response_tokens),
        StageBounds(Stage.SFT, 0, 0, learned, learned),
        evaluation(Stage.SFT),
        StageBounds(Stage.RL, drawn, drawn * executions, drawn * recipe.rl.response_tokens, reinforced),
        evaluation(Stage.RL),
    ]
