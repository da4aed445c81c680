"""The training stages: gentle fine-tuning on golden trajectories, then reinforcement (paper section 3.3).

A model directory exists only when its training is complete; a training that was killed goes on from its last whole
checkpoint. Of several processes that train together, only the first has opened the run for writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.errors import InputError
from calmstorm.printable import percent
from calmstorm.progress import Advance, note, track
from calmstorm.records import GoldenTrajectory, Problem, Stage
from calmstorm.rollout import CodeRunner
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe, RlSettings
from calmstorm.stages.cards import write_card
from calmstorm.stages.engines import reinforce_by_verl, require_engine
from calmstorm.stages.launching import is_to_be_launched, train_elsewhere
from calmstorm.stages.watching import HeldOutProblems, held_out, watch_of

if TYPE_CHECKING:
    from calmstorm.training.grpo import RlResult, RlStep
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
    interpreter: CodeRunner,
    stage: Stage = Stage.RL,
    *,
    test: Sequence[Problem] = (),
    evaluate_on: Sequence[Problem] = (),
) -> None:
    """Reinforces a model, unless the run has the result; steps and rewards go to files that begin with its stage.

    Args:
        run: Receives steps, rewards and, while training, evaluations.
        recipe: Its settings.
        start: What is reinforced.
        problems: What it is trained on, but for those that are held out to choose weights by.
        interpreter: Runs scripts.
        stage: Of the run.
        test: What is evaluated on while training, where the recipe asks for that and no weights are chosen by it.
        evaluate_on: What is evaluated on in any case.

    Raises:
        InputError: There are too few problems, one has no label, or `start` is no model.
    """
    output, settings = model_path(run, stage), recipe.rl
    trained, watched = held_out(problems, test, evaluate_on, settings, recipe.seed)
    if output.exists():
        write_card(run, recipe, stage, output, start, trained)
        return
    if is_to_be_launched(recipe, "rl"):
        train_elsewhere(run, recipe, stage, "rl", start, problems)
        return
    require_engine(recipe)
    annotated = annotated_problems(run.path, recipe)
    if settings.engine == "verl":
        measure = HeldOutProblems(watched, recipe, interpreter, stage) if watched else None
        by_verl, total = reinforce_by_verl(run, recipe, start, trained, stage, output, annotated, measure)
        write_card(run, recipe, stage, output, start, trained, _kept(by_verl, settings, total))
        return
    from calmstorm.training.grpo import completed_steps, train_grpo

    done = completed_steps(output, settings)
    total = settings.steps or settings.epochs * (len(trained) // settings.prompts_per_step)
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

        result = train_grpo(
            start,
            trained,
            output,
            settings,
            interpreter,
            rollouts=recipe.rollout,
            prompt=recipe.prompt,
            local=recipe.local,
            server=recipe.server,
            carft=recipe.carft,
            annotated=annotated,
            seed=recipe.seed,
            on_step=on_step,
            on_rollout=on_rollout,
            watch=watch_of(run, stage, done, HeldOutProblems(watched, recipe, interpreter, stage)) if watched else None,
        )
    weights = _kept(result, settings, total)
    write_card(run, recipe, stage, output, start, trained, weights)
    note(f"{stage}: {result.steps} steps from {start}{f'; {weights}' if weights else ''}")


def _kept(result: RlResult, settings: RlSettings, total: int) -> str:
    """Says which weights were kept, where there was a choice, and that training ended early."""
    words = []
    if result.steps < total:
        words.append(f"ended early, {settings.patience} evaluations after the best")
    if settings.keep == "best":
        score = result.score
        share = "" if score is None or score.pass_at_1 is None else f", {percent(score.pass_at_1)} of held-out problems"
        words.append(f"weights of step {result.kept} are kept as the best{share}")
    return "; ".join(words)


def annotated_problems(run: Path, recipe: Recipe) -> dict[str, GoldenTrajectory]:
    """Returns the annotated trajectories of a recipe's problems, by problem id; none where its objective needs none.

    Args:
        run: Directory of the run, whose golden set serves where the recipe names no other.
        recipe: Its sections `rl` and `carft`.

    Raises:
        InputError: There are none where they are to be: `carft.annotated`, or the run itself.
    """
    from calmstorm.training.carft.annotated import REMEDY, read_annotated

    if recipe.rl.objective != "carft" or recipe.carft.coefficient == 0:
        return {}
    if recipe.carft.annotated is None and not (run / "golden.jsonl").exists():
        raise InputError(f"carft.annotated names no run, and {run} has no golden trajectories of its own: {REMEDY}")
    return read_annotated(recipe.carft.annotated or run)
