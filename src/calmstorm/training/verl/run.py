"""A training by verl, from problems to a plain model directory.

Everything verl reads and writes lies in `<output>.work/`. A killed training goes on from verl's last whole checkpoint;
what verl had logged before the kill is taken up first, and what comes after that checkpoint is made again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calmstorm.errors import WorkError
from calmstorm.reasoner.codec import load_tokenizer
from calmstorm.reasoner.prompting import prompt_of_model
from calmstorm.reasoner.weights import model_directory
from calmstorm.records import GoldenTrajectory, Problem
from calmstorm.settings import Recipe
from calmstorm.training.checkpoints import open_work, publish, work_dir
from calmstorm.training.grpo import RlResult, check_problems, step_order
from calmstorm.training.verl import config
from calmstorm.training.verl.checkpoints import checkpoint
from calmstorm.training.verl.config import VerlTraining
from calmstorm.training.verl.data import fitting, write_problems
from calmstorm.training.verl.export import export
from calmstorm.training.verl.follow import Follower, Listener
from calmstorm.training.verl.process import command, running
from calmstorm.training.watching import Watch, Watcher


@dataclass(frozen=True)
class VerlData:
    """What a training learns from."""

    problems: Sequence[Problem]
    """With labels that can be graded."""
    annotated: Mapping[str, GoldenTrajectory] | None = None
    """Annotated trajectories by problem id, for CARFT."""


def plan(
    model: str | Path, data: VerlData, output_dir: Path, recipe: Recipe, watch: Watch | None = None
) -> tuple[VerlTraining, list[Problem]]:
    """Returns a training and the problems whose prompts fit it; writes nothing.

    Raises:
        InputError: Too few problems, a setting that this engine does not know, or no such model.
    """
    config.check_settings(recipe, device_of(recipe))
    check_problems(data.problems)
    directory = model_directory(model).resolve()
    recipe = recipe.model_copy(update={"prompt": recipe.prompt or prompt_of_model(directory)})
    tokenizer = load_tokenizer(str(directory))
    usable = fitting(data.problems, tokenizer, str(recipe.prompt), recipe.rl.prompt_tokens)
    training = outline(str(directory), len(usable), output_dir, recipe)
    return replace(training, evaluates=watch is not None), usable


def outline(model: str, problems: int, output_dir: Path, recipe: Recipe) -> VerlTraining:
    """Returns a training of so many problems; reads and writes nothing.

    Raises:
        InputError: There are too few.
    """
    settings = recipe.rl
    return VerlTraining(
        recipe,
        model,
        work_dir(output_dir).resolve(),
        steps=len(step_order(problems, settings, recipe.seed)) // settings.prompts_per_step,
        steps_per_pass=problems // settings.prompts_per_step,
        device=device_of(recipe),
        joins="RAY_ADDRESS" in os.environ,
    )


def device_of(recipe: Recipe) -> str:
    """Returns `cuda` or `cpu`; several processes or nodes mean GPUs unless `local.device` says otherwise."""
    if recipe.local.device != "auto":
        return recipe.local.device.partition(":")[0]
    if recipe.rl.nodes * recipe.rl.processes > 1:
        return "cuda"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def train_verl(
    model: str | Path,
    data: VerlData,
    output_dir: Path,
    recipe: Recipe,
    listener: Listener,
    logged: int = 0,
    watch: Watch | None = None,
) -> RlResult:
    """Reinforces a model by verl and writes it as a plain Hugging Face directory.

    Args:
        model: Directory or hub id of the model to start from.
        data: What it learns from.
        output_dir: Must not exist; appears when training is complete.
        recipe: Its sections `rl`, `carft`, `rollout`, `evaluation` and `local` are used.
        listener: Is told of steps and rollouts.
        logged: The last step that the listener was told of before.
        watch: What is evaluated while training, where the recipe says so.

    Raises:
        InputError: verl refuses the configuration, or an unfinished training with other arguments is in its place.
        InfrastructureError: verl ended before its time.
    """
    training, usable = plan(model, data, output_dir, recipe, watch)
    checked = config.compose(training)  # nothing is written for what verl refuses
    work = open_work(output_dir, _identity(training, data, usable)).resolve()
    follower = Follower(training, listener, logged, None if watch is None else Watcher(recipe.rl, watch))
    training = follower.catch_up()
    if training.resume_from is not None:
        checked = config.compose(training)
    _write_inputs(training, data, usable, watch)
    config.write(checked, work)
    if follower.told < training.steps and not follower.is_over:
        with running(command(work, config.CONFIG_NAME), work, training.device) as process:
            follower.follow(process)
    kept = follower.kept
    if kept is None:
        raise WorkError(f"verl ended after step {follower.told} of {training.steps} without its checkpoint: {work}")
    publish(_staged(training, kept), str(training.recipe.prompt), output_dir)
    score = None if follower.watcher is None else follower.watcher.scores.get(kept)
    return RlResult(steps=follower.told, kept=kept, score=score)


def _staged(training: VerlTraining, step: int) -> Path:
    """Returns a directory with the weights after a step; those before the first are the start's own."""
    if step:
        return export(checkpoint(training.work / config.CHECKPOINTS, step), training.work)
    staged = training.work / "model"
    shutil.copytree(training.model, staged, dirs_exist_ok=True)
    return staged


def _write_inputs(training: VerlTraining, data: VerlData, usable: Sequence[Problem], watch: Watch | None) -> None:
    work, prompt = training.work, str(training.recipe.prompt)
    write_problems(work / config.TRAIN, usable, prompt, data.annotated)
    held_out = [] if watch is None else watch.held_out.problems
    write_problems(
        work / config.HELD_OUT, held_out or usable[:1], prompt, held_out=True
    )  # verl always wants such a file


def _identity(training: VerlTraining, data: VerlData, usable: Sequence[Problem]) -> dict[str, object]:
    """Returns what a resumed training must have in common with the one that was interrupted."""
    recipe = training.recipe
    pace = {"checkpoint_steps", "micro_batch", "keep", "patience"}
    return {
        "settings": [
            recipe.rl.model_dump(exclude=pace),
            recipe.rollout.model_dump(exclude={"concurrency", "workers"}),
            recipe.carft.model_dump() if recipe.rl.objective == "carft" else None,
            recipe.seed,
        ],
        "model": training.model,
        "prompt": recipe.prompt,
        "problems": [problem.model_dump(mode="json") for problem in usable],
        "annotated": {name: golden.model_dump(mode="json") for name, golden in (data.annotated or {}).items()},
    }
