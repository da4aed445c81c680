"""How long the stages of a recipe take, at the pace of a past run or at one that is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from calmstorm.commands.plan_bounds import StageBounds, bounds
from calmstorm.commands.plan_geometry import Geometry
from calmstorm.commands.plan_training import training_flops
from calmstorm.errors import InputError
from calmstorm.records import Stage
from calmstorm.settings import Recipe


class Paces(NamedTuple):
    """Paces that a user gives; None where he gives none."""

    tokens_per_second: float | None = None
    """That all servers write together."""
    executions_per_second: float | None = None
    """Of all interpreter workers together; None means that scripts are no bottleneck."""
    train_tokens_per_second: float | None = None
    """That all GPUs train on together."""
    train_tflops: float | None = None
    """Instead: 10^12 floating-point operations that one GPU does each second while it trains."""

    @property
    def trains(self) -> bool:
        """Whether there is one of training."""
        return self.train_tokens_per_second is not None or self.train_tflops is not None


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
    recipe: Recipe, stages: Sequence[StageBounds], paces: Paces, geometry: Geometry | None
) -> dict[str, float]:
    """Returns the seconds of each stage for which the paces suffice.

    Reinforcement takes those of its rollouts and, where there is a pace of training, those of its updates.

    Args:
        recipe: Lengths, processes.
        stages: Its bounds.
        paces: What is known.
        geometry: Of its model, for `train_tflops`.

    Raises:
        InputError: Two paces of training, or one in operations for a model of unknown sizes.
    """
    if paces.train_tokens_per_second is not None and paces.train_tflops is not None:
        raise InputError("--train-tokens-per-second and --train-tflops both give a pace of training; give one of them")
    seconds: dict[str, float] = {}
    for stage in stages:
        trained = _training_seconds(recipe, stage, paces, geometry) if stage.trained and paces.trains else 0.0
        written = _rollout_seconds(stage, paces) if stage.rollouts else 0.0
        if written is not None and (written or trained):
            seconds[stage.stage] = round(written + trained, 1)
    return seconds


def _rollout_seconds(stage: StageBounds, paces: Paces) -> float | None:
    """Returns the seconds of rollouts, whose scripts run while others decode; None without a pace."""
    if paces.tokens_per_second is None:
        return None
    executions = stage.executions / paces.executions_per_second if paces.executions_per_second else 0.0
    return max(stage.tokens / paces.tokens_per_second, executions)


def _training_seconds(recipe: Recipe, stage: StageBounds, paces: Paces, geometry: Geometry | None) -> float:
    if paces.train_tokens_per_second is not None:
        return stage.trained / paces.train_tokens_per_second
    if geometry is None or paces.train_tflops is None:
        raise InputError("--train-tflops needs the sizes of the model, which are not known: download it, or name one")
    sft, rl = recipe.sft, recipe.rl
    settings, length = (
        (sft, sft.sequence_tokens) if stage.stage == Stage.SFT else (rl, rl.prompt_tokens + rl.response_tokens)
    )
    rate = paces.train_tflops * 1e12 * settings.processes * settings.nodes
    return training_flops(geometry, stage.trained, length) / rate
