"""Which engine reinforces: TRL in processes of ours, or verl on a Ray cluster; an environment has one of the two."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.errors import InputError
from calmstorm.progress import note, track
from calmstorm.records import GoldenTrajectory, Problem, Stage
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe
from calmstorm.stages.watching import HeldOutProblems, watch_of

if TYPE_CHECKING:
    from calmstorm.training.grpo import RlResult
    from calmstorm.training.steps import RlStep
    from calmstorm.training.verl.metrics import DumpedRollout

_NEEDS = {"trl": ("trl", "train", "verl"), "verl": ("verl", "verl", "train")}
"""Package, extra, and the extra that excludes it."""


def require_engine(recipe: Recipe) -> None:
    """Refuses an engine that is not installed here.

    Raises:
        InputError: The message says which extra to install, and where.
    """
    engine = recipe.rl.engine
    package, extra, other = _NEEDS[engine]
    if find_spec(package) is None:
        remedy = (
            f", or --engine {'trl' if engine == 'verl' else 'verl'} here"
            if find_spec(_NEEDS[other_of(engine)][0])
            else ""
        )
        raise InputError(
            f"rl.engine is '{engine}', and {package} is not installed here; its extra '{extra}' excludes '{other}': "
            f"pip install 'calmstorm[{extra}]' in an environment of its own{remedy}"
        )


def other_of(engine: str) -> str:
    """Returns the other engine."""
    return "trl" if engine == "verl" else "verl"


def needs_launch(recipe: Recipe) -> bool:
    """Whether verl is to train on several nodes and no Ray cluster is named yet."""
    return recipe.rl.engine == "verl" and recipe.rl.nodes > 1 and "RAY_ADDRESS" not in os.environ


def write_launch(
    script: Path, output: Path, recipe: Recipe, start: str | Path, problems: int, words: Sequence[str]
) -> list[str]:
    """Writes a script that starts a training on a cluster; returns what to run where.

    Args:
        script: `launch/rl.sh` of the run.
        output: Where the model will stand.
        recipe: Nodes and processes.
        start: Model to start from.
        problems: How many there are to train on.
        words: The command, as it was typed.

    Raises:
        InputError: verl refuses the configuration.
    """
    from calmstorm.atomic import write_atomically
    from calmstorm.training.verl import config
    from calmstorm.training.verl.launch import launch_lines, launch_script
    from calmstorm.training.verl.run import outline

    config.compose(outline(str(start), problems, output, recipe))
    script = script.resolve()
    script.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(script, launch_script(recipe.rl, words, script, Path.cwd()))
    return launch_lines(recipe.rl, script)


def outlined(output: Path, recipe: Recipe, start: str | Path, problems: int) -> dict[str, object]:
    """Returns what `calm rl` would do, without doing it.

    Raises:
        InputError: verl refuses the configuration, or there are too few problems.
    """
    from calmstorm.training.grpo import step_order

    settings = recipe.rl
    steps = len(step_order(problems, settings, recipe.seed)) // settings.prompts_per_step
    shown: dict[str, object] = {
        "engine": settings.engine,
        "start": str(start),
        "model": str(output),
        "problems": problems,
        "steps": steps,
    }
    if settings.engine != "verl":
        return shown | {f"rl.{key}": value for key, value in settings.model_dump(mode="json").items()}
    from calmstorm.training.verl import config
    from calmstorm.training.verl.process import command
    from calmstorm.training.verl.run import outline

    training = outline(str(start), problems, output, recipe)
    config.compose(training)
    return shown | {"command": " ".join(command(training.work, config.CONFIG_NAME)), **config.changes(training)}


def reinforce_by_verl(
    run: RunDirectory,
    recipe: Recipe,
    start: str | Path,
    problems: Sequence[Problem],
    stage: Stage,
    output: Path,
    annotated: Mapping[str, GoldenTrajectory] | None = None,
    measure: HeldOutProblems | None = None,
) -> tuple[RlResult, int]:
    """Reinforces a model by verl; steps and rewards go to files that begin with its stage.

    Args:
        run: Receives steps, rewards and evaluations.
        recipe: Its settings.
        start: What is reinforced.
        problems: What it is trained on.
        stage: Of the run.
        output: Where the model will stand.
        annotated: Annotated trajectories by problem id, for CARFT.
        measure: What is evaluated on while training.

    Returns:
        What came of it, and how many steps there were to be.

    Raises:
        InputError: There are too few problems, or verl refuses the configuration.
        InfrastructureError: verl ended before its time.
    """
    from calmstorm.training.verl.follow import Listener
    from calmstorm.training.verl.run import VerlData, plan, train_verl

    data = VerlData(problems, annotated or None)
    total = plan(start, data, output, recipe)[0].steps
    logged = max((row["step"] for row in run.read_rows(stage) if "reward" in row), default=0)
    watch = None if measure is None else watch_of(run, stage, total, measure)
    with run.stage(stage), track(stage, total, logged) as advance:

        def on_step(step: RlStep) -> None:
            run.append(stage, step)
            advance(f"reward {step.reward:.2f}")

        def on_rollout(rollout: DumpedRollout) -> None:
            run.append(f"{stage}_rollouts", rollout.row())

        def on_resume(done: int) -> None:
            for log in (stage, f"{stage}_rollouts"):
                run.drop(log, lambda row: row["step"] > done)

        note(f"verl trains; its output is in {output}.work/verl.log")
        result = train_verl(start, data, output, recipe, Listener(on_step, on_rollout, on_resume), logged, watch)
    note(f"{stage}: {result.steps} steps from {start}")
    return result, total
