"""Seconds of a step of reinforcement, split into generate, execute, score and update: ours beside what others do.

    OMP_NUM_THREADS=1 python benchmarks/training.py [--rounds 3] [--problems 12] [--samples 8] [--json FILE]

Three ways to make the rollouts of a step, in one training of the pocket Reasoner, taking turns step by step:

    ours       the in-process engine; code runs while other rollouts are written
    blocking   TRL's own generation, `generate` of transformers; after each turn the code of all rows, one after the
               other, in the same warm interpreter
    cold       the same generation; after each turn `python script.py` for each block, as many at once as the
               interpreter has workers

Problems, number of rollouts, limits, sampling, grading and trainer are the same, and so are the weights, since the
learning rate is next to nothing; tokens are those that each way draws, and are reported. One thread each. The first
round is a warm-up and does not count. `execute` is wall time in which code was run and nothing was written, `score`
wall time in which answers were graded and neither was done, `update` all that the trainer does with the rollouts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from training_peers import BlockingRunner, ColdRunner, roll_out_in_lock_step

from calmstorm.interpreter import Interpreter
from calmstorm.problems.generator import EASY_SIZES, Side, generate
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.settings import Recipe, RlSettings, RolloutSettings, load_recipe
from calmstorm.training import grpo
from calmstorm.training import steps as rl_steps
from calmstorm.training.clock import RolloutClock
from calmstorm.training.rollouts import RlRollout, RolloutTask, roll_out

ARMS = ("ours", "blocking", "cold")
PARTS = ("generate", "execute", "score", "update")
TARGETS = {"blocking": 1.3, "cold": 3.0}
"""How many times longer a step of theirs should take, at least."""
LARGEST_EXECUTE_SHARE = 0.05
"""Of our step's time, what waiting for code should take, at most."""


def arm_of(step: int) -> str:
    """Returns whose turn a step is, counted from 1; each round begins with another."""
    round_, place = divmod(step - 1, len(ARMS))
    return ARMS[(round_ + place) % len(ARMS)]


async def roll_out_in_turn(
    tasks: Sequence[RolloutTask],
    reasoner: LocalReasoner,
    interpreter: Interpreter,
    settings: RlSettings,
    rollouts: RolloutSettings,
    seed: int,
    clock: RolloutClock,
) -> list[RlRollout]:
    """Stands in for the package's function of these arguments: makes a step's rollouts the way whose turn it is."""
    arm = arm_of(tasks[0].step)
    if arm == "ours":
        return await roll_out(tasks, reasoner, interpreter, settings, rollouts, seed, clock)
    runner = BlockingRunner(interpreter) if arm == "blocking" else ColdRunner(rollouts.workers)
    return await roll_out_in_lock_step(tasks, reasoner, runner, settings, rollouts, clock)


def measure(recipe: Recipe, problems: int) -> dict[str, list[dict[str, float]]]:
    """Trains, and returns what each step of each arm took, warm-up left out."""
    given = list(generate(problems, seed=1, suite="bench", sizes=EASY_SIZES, side=Side.ADAPT))
    steps: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    rollouts: list[RlRollout] = []

    def on_step(step: rl_steps.RlStep) -> None:
        arm = arm_of(step.step)
        responses = [made.rollout for made in rollouts]
        rollouts.clear()
        parts = {"execute": step.execute_seconds, "score": step.score_seconds}
        parts["generate"] = step.rollout_seconds - sum(parts.values())
        parts["update"] = step.seconds - step.rollout_seconds
        row = {
            "seconds": step.seconds,
            **{part: parts[part] for part in PARTS},
            "tokens": float(sum(response.usage.completion_tokens for response in responses)),
            "executions": float(sum(len(response.executions) for response in responses)),
            "reward": step.reward,
        }
        print(f"{arm:9} " + ", ".join(f"{name} {value:.4g}" for name, value in row.items()), file=sys.stderr)
        if step.step > len(ARMS):
            steps[arm].append(row)

    monkeypatched: Any = rl_steps
    monkeypatched.roll_out = roll_out_in_turn
    with (
        tempfile.TemporaryDirectory(prefix="calm-bench-") as folder,
        Interpreter(recipe.rollout.workers) as interpreter,
    ):
        grpo.train_grpo(
            pocket_directory(),
            given,
            Path(folder) / "model",
            recipe.rl,
            interpreter,
            rollouts=recipe.rollout,
            prompt=recipe.prompt,
            seed=recipe.seed,
            on_step=on_step,
            on_rollout=rollouts.append,
        )
    return steps


def summarised(steps: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Returns medians of each arm, how they compare with ours, and whether that is what was aimed at."""
    medians = {arm: {name: median(row[name] for row in rows) for name in rows[0]} for arm, rows in steps.items()}
    for arm, rows in steps.items():
        medians[arm]["ms_per_token"] = median(1000 * row["seconds"] / row["tokens"] for row in rows)
    ours = medians["ours"]
    ratios = {arm: {name: medians[arm][name] / ours[name] for name in ("seconds", "ms_per_token")} for arm in TARGETS}
    share = fmean(row["execute"] / row["seconds"] for row in steps["ours"])
    met = {f"{arm} takes {least:g} times as long": ratios[arm]["seconds"] >= least for arm, least in TARGETS.items()}
    met[f"code is at most {LARGEST_EXECUTE_SHARE:.0%} of our step"] = share <= LARGEST_EXECUTE_SHARE
    return {"steps": steps, "medians": medians, "ratios": ratios, "execute_share": share, "targets": met}


def show(result: dict[str, Any]) -> None:
    """Prints a table."""
    names = ["seconds", *PARTS, "tokens", "executions", "ms_per_token"]
    print(f"{'median of a step':18}" + "".join(f"{name:>14}" for name in names))
    for arm, row in result["medians"].items():
        print(f"{arm:18}" + "".join(f"{row[name]:14,.2f}" for name in names))
    for arm, ratio in result["ratios"].items():
        print(f"{arm} takes {ratio['seconds']:.2f} times as long a step, {ratio['ms_per_token']:.2f} times a token")
    print(f"waiting for code is {result['execute_share']:.1%} of our step")
    for target, met in result["targets"].items():
        print(f"{'met' if met else 'MISSED':8}{target}")


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3, help="steps of each arm, after one for warming up")
    options.add_argument("--problems", type=int, default=12, help="of a step")
    options.add_argument("--samples", type=int, default=8, help="rollouts of a problem")
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    given = options.parse_args()
    recipe = load_recipe(
        "pocket",
        {
            "rl.steps": str(len(ARMS) * (given.rounds + 1)),
            "rl.prompts_per_step": str(given.problems),
            "rl.mini_batch": str(given.problems),
            "rl.samples": str(given.samples),
            "rl.learning_rate": "1e-12",
            "rl.checkpoint_steps": "1000000",
        },
    )
    result = {"problems": given.problems, "samples": given.samples, **summarised(measure(recipe, given.problems))}
    show(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
