"""The training stages: gentle fine-tuning on golden trajectories, then reinforcement (paper section 3.3).

A model directory exists only when its training is complete; a training that was killed goes on from its last whole
checkpoint. Of several processes that train together, only the first has opened the run for writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.interpreter import Interpreter
from calmstorm.progress import Advance, note, track
from calmstorm.records import GoldenTrajectory, Problem, Stage
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe
from calmstorm.stages.cards import write_card
from calmstorm.stages.engines import reinforce_by_verl, require_engine
from calmstorm.stages.launching import is_to_be_launched, train_elsewhere

if TYPE_CHECKING:
    from calmstorm.training.grpo import RlStep
    from calmstorm.training.rollouts import RlRollout
    from calmstorm.training.sft import SftStep


def model_path(run: RunDirectory | Path, stage: Stage) -> Path:
    """Returns where the model of a training stage is written."""
    return (run.path if isinstance(run, RunDirectory) else run) / "models" / stage


def fine_tune(
    run: RunDirectory,
    recipe: Recipe,
    base: str | Path,
    golden: Sequence[GoldenTrajectory],
    stage: Stage = Stage.SFT,
    output: Path | None = None,
) -> None:
    """Fine-tunes a model, unless the run has the result; steps go to `<stage>.jsonl`.

    Raises:
        InputError: There is nothing to learn, or the base is no model.
    """
    from calmstorm.training.checkpoints import completed_updates
    from calmstorm.training.sft import train_sft

    output = output or model_path(run, stage)
    if output.exists():
        write_card(run, recipe, stage, output, base, golden)
        return
    if is_to_be_launched(recipe, "sft"):
        train_elsewhere(run, recipe, stage, "sft", base, golden)
        return
    done = completed_updates(output)
    total = max(1, -(-round(recipe.sft.epochs * len(golden)) // recipe.sft.batch))
    with _logged(run, stage, (stage,), done, total) as advance:

        def log(step: SftStep) -> None:
            if not run.readonly:
                run.append(stage, step)
            advance(f"loss {step.loss:.3f}")

        result = train_sft(base, golden, output, recipe.sft, prompt=recipe.prompt, seed=recipe.seed, on_log=log)
    write_card(run, recipe, stage, output, base, golden)
    left_out = f" ({result.left_out} too long)" if result.left_out else ""
    best = "" if result.best_step is None else f"; step {result.best_step} is the best in validation and is kept"
    note(f"{stage}: {result.steps} steps on {result.trajectories} trajectories{left_out}{best}")


@contextmanager
def _logged(run: RunDirectory, stage: Stage, logs: Sequence[str], done: int, total: int) -> Iterator[Advance]:
    """Takes out of the logs what is made again, times the stage and shows its progress; the first process does."""
    if run.readonly:
        yield lambda remark: None
        return
    for log in logs:
        run.drop(log, lambda row: row["step"] > done)
    with run.stage(stage), track(stage, total, done) as advance:
        yield advance


def reinforce(
    run: RunDirectory,
    recipe: Recipe,
    start: str | Path,
    problems: Sequence[Problem],
    interpreter: Interpreter,
    stage: Stage = Stage.RL,
) -> None:
    """Reinforces a model, unless the run has the result; steps and rewards go to files that begin with its stage.

    Raises:
        InputError: There are too few problems, one has no label, or `start` is no model.
    """
    output = model_path(run, stage)
    if output.exists():
        write_card(run, recipe, stage, output, start, problems)
        return
    if is_to_be_launched(recipe, "rl"):
        train_elsewhere(run, recipe, stage, "rl", start, problems)
        return
    require_engine(recipe)
    if recipe.rl.engine == "verl":
        reinforce_by_verl(run, recipe, start, problems, stage, output)
        write_card(run, recipe, stage, output, start, problems)
        return
    from calmstorm.training.grpo import completed_steps, train_grpo

    settings = recipe.rl
    done = completed_steps(output, settings)
    total = settings.steps or settings.epochs * (len(problems) // settings.prompts_per_step)
    with _logged(run, stage, (stage, f"{stage}_rollouts"), done, total) as advance:

        def on_step(step: RlStep) -> None:
            if not run.readonly:
                run.append(stage, step)
            advance(f"reward {step.reward:.2f}")

        def on_rollout(rollout: RlRollout) -> None:
            if run.readonly:
                return
            key = {"step": rollout.step, "problem_id": rollout.problem_id, "sample": rollout.sample}
            run.append(f"{stage}_rollouts", {**key, "reward": rollout.reward})

        train_grpo(
            start,
            problems,
            output,
            settings,
            interpreter,
            rollouts=recipe.rollout,
            prompt=recipe.prompt,
            local=recipe.local,
            server=recipe.server,
            seed=recipe.seed,
            on_step=on_step,
            on_rollout=on_rollout,
        )
    write_card(run, recipe, stage, output, start, problems)
    note(f"{stage}: {total} steps from {start}")
