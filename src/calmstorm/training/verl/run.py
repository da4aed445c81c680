"""A training by verl, from problems to a plain model directory.

Everything verl reads and writes lies in `<output>.work/`. A killed training goes on from verl's last whole checkpoint;
what verl had logged before the kill is taken up first, and what comes after that checkpoint is made again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import Popen

from calmstorm.errors import WorkError
from calmstorm.reasoner.codec import load_tokenizer
from calmstorm.reasoner.prompting import prompt_of_model
from calmstorm.reasoner.weights import model_directory
from calmstorm.records import GoldenTrajectory, Problem
from calmstorm.settings import Recipe, RlSettings
from calmstorm.training.checkpoints import open_work, publish, work_dir
from calmstorm.training.grpo import check_problems, step_order
from calmstorm.training.steps import RlStep
from calmstorm.training.verl import config
from calmstorm.training.verl.checkpoints import checkpoint, keep_only, resume_step, whole_steps
from calmstorm.training.verl.config import VerlTraining
from calmstorm.training.verl.data import fitting, write_problems
from calmstorm.training.verl.export import export
from calmstorm.training.verl.metrics import DumpedRollout, LoggedStep, parse_steps, read_rollouts, rl_step
from calmstorm.training.verl.process import check_ended, command, running

_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 5.0
"""How long a step waits for its rollouts, which verl dumps beside its work."""


@dataclass(frozen=True)
class VerlData:
    """What a training learns from."""

    problems: Sequence[Problem]
    """With labels that can be graded."""
    held_out: Sequence[Problem] = ()
    """For evaluation while training."""
    annotated: Mapping[str, GoldenTrajectory] | None = None
    """Annotated trajectories by problem id, for CARFT."""


@dataclass(frozen=True)
class Listener:
    """Who is told of a training."""

    on_step: Callable[[RlStep], None]
    """Gets every step once, in order."""
    on_rollout: Callable[[DumpedRollout], None]
    """Gets every rollout of a step, before the step."""
    on_resume: Callable[[int], None]
    """Told after which step the training goes on: what was told of later ones comes again."""


def plan(model: str | Path, data: VerlData, output_dir: Path, recipe: Recipe) -> tuple[VerlTraining, list[Problem]]:
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
    return outline(str(directory), len(usable), output_dir, recipe), usable


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
    model: str | Path, data: VerlData, output_dir: Path, recipe: Recipe, listener: Listener, logged: int = 0
) -> int:
    """Reinforces a model by verl and writes it as a plain Hugging Face directory.

    Args:
        model: Directory or hub id of the model to start from.
        data: What it learns from.
        output_dir: Must not exist; appears when training is complete.
        recipe: Its sections `rl`, `carft`, `rollout`, `evaluation` and `local` are used.
        listener: Is told of steps and rollouts.
        logged: The last step that the listener was told of before.

    Returns:
        How many steps the training has.

    Raises:
        InputError: verl refuses the configuration, or an unfinished training with other arguments is in its place.
        InfrastructureError: verl ended before its time.
    """
    training, usable = plan(model, data, output_dir, recipe)
    checked = config.compose(training)  # nothing is written for what verl refuses
    work = open_work(output_dir, _identity(training, data, usable)).resolve()
    follower = Follower(training, listener, logged)
    training = follower.catch_up()
    if training.resume_from is not None:
        checked = config.compose(training)
    _write_inputs(training, data, usable)
    config.write(checked, work)
    if follower.told < training.steps:
        with running(command(work, config.CONFIG_NAME), work, training.device) as process:
            follower.follow(process)
    kept = max(whole_steps(work / config.CHECKPOINTS), default=0)
    if kept < training.steps:
        raise WorkError(f"verl ended after step {follower.told} of {training.steps} without its checkpoint: {work}")
    publish(export(checkpoint(work / config.CHECKPOINTS, kept), work), str(training.recipe.prompt), output_dir)
    return training.steps


def _write_inputs(training: VerlTraining, data: VerlData, usable: Sequence[Problem]) -> None:
    work, prompt = training.work, str(training.recipe.prompt)
    write_problems(work / config.TRAIN, usable, prompt, data.annotated)
    held_out = data.held_out[: training.recipe.rl.evaluation_problems]
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


class Follower:
    """Tells the listener of each step that verl logs, once and in order."""

    def __init__(self, training: VerlTraining, listener: Listener, logged: int) -> None:
        """Takes a training, whom to tell, and the last step that it was told of before."""
        self._training, self._listener = training, listener
        self.told = logged
        """The last step that the listener knows."""
        self._read_to = 0  # bytes of verl's log

    def catch_up(self) -> VerlTraining:
        """Takes up what was logged before a kill; returns the training as it goes on."""
        work = self._training.work
        self._listener.on_resume(self.told)  # rollouts may be told of a step that is not
        self.tell_new(wait=False)
        step = resume_step(work / config.CHECKPOINTS, self.told)
        keep_only(work / config.CHECKPOINTS, {step})
        for place in (config.ROLLOUTS, "hydra"):
            shutil.rmtree(work / place, ignore_errors=True)
        (work / config.METRICS).unlink(missing_ok=True)
        self._read_to, self.told = 0, step
        self._listener.on_resume(step)
        resume_from = checkpoint(work / config.CHECKPOINTS, step) if step else None
        return replace(self._training, resume_from=resume_from)

    def follow(self, process: Popen[bytes]) -> None:
        """Tells of steps until verl ends."""
        ended = False
        while not ended:
            ended = check_ended(process, self._training.work)
            self.tell_new(wait=not ended)
            if not ended:
                time.sleep(_POLL_SECONDS)

    def _logged(self) -> list[LoggedStep]:
        """Returns the steps of the lines that were added since the last call."""
        path = self._training.work / config.METRICS
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._read_to)
            added = file.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._read_to += len(whole)
        return parse_steps(whole.decode().splitlines())

    def tell_new(self, wait: bool) -> None:
        """Tells of the steps that were logged since the last call.

        Args:
            wait: Whether rollouts that are not dumped yet are waited for, some seconds.
        """
        folder = self._training.work / config.ROLLOUTS
        for logged in self._logged():
            if logged.step <= self.told:
                continue
            rollouts = read_rollouts(folder, logged.step)
            until = time.monotonic() + _SETTLE_SECONDS
            while wait and len(rollouts) < _rows(self._training.recipe.rl) and time.monotonic() < until:
                time.sleep(_POLL_SECONDS)
                rollouts = read_rollouts(folder, logged.step)
            for rollout in rollouts:
                self._listener.on_rollout(rollout)
            self._listener.on_step(rl_step(logged))
            self.told = logged.step
            (folder / f"{logged.step}.jsonl").unlink(missing_ok=True)  # whole responses: gigabytes in the end


def _rows(settings: RlSettings) -> int:
    return settings.prompts_per_step * settings.samples
