"""GRPO against GRPO with the contrastive loss of CARFT, on the pocket Reasoner: learning curves over several seeds.

    python benchmarks/carft.py [--out runs/bench-carft] [--arms grpo,positives,negatives] [--seeds 1,2,3] [--steps 12]
                               [--coefficient 0.1] [--json FILE] [--plot FILE.html] [--report]

All arms begin with the same fine-tuned model, and take the same problems in the same order with as many rollouts; what
differs is the loss. Problems of the reinforcement are curated first: their golden trajectories are what CARFT holds
rollouts against. Accuracy is measured on held-out problems along training, with the same seeds of sampling in each
arm. Everything lies under --out, one directory for each arm and seed; what is finished there is not made again, and a
killed run goes on. --report makes table, JSON and page of what there is, and trains nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from carft_results import collect, show, write_page

from calmstorm.commands import options
from calmstorm.errors import CalmstormError
from calmstorm.interpreter import Interpreter
from calmstorm.pipeline import Adaptation
from calmstorm.printable import percent
from calmstorm.progress import note
from calmstorm.reasoner.protocol import Reasoner
from calmstorm.records import GoldenTrajectory, Problem, Stage
from calmstorm.runs import RunDirectory
from calmstorm.settings import CarftSettings, Recipe, RunConfig, changed, load_recipe
from calmstorm.stages import PACE, Parts, collect_problems, fine_tune, keep_config, model_path
from calmstorm.stages.watching import HeldOutProblems
from calmstorm.training.carft.annotated import read_annotated
from calmstorm.training.grpo import completed_steps, train_grpo
from calmstorm.training.steps import RlStep
from calmstorm.training.watching import HeldOutAnswer, RlEvaluation, Watch

VARIANTS = ("positives", "negatives", "both", "pull")
ARMS = ("grpo", *VARIANTS)
SIZES = {
    "problems.sft": 128,
    "problems.rl": 160,
    "problems.easy": 32,
    "problems.complex": 32,
    "rl.prompts_per_step": 8,
    "rl.mini_batch": 8,
    "rl.samples": 8,
    "rl.evaluation_steps": 4,
    "rl.evaluation_samples": 2,
    "rl.checkpoint_steps": 2,
    "evaluation.temperature": 0.6,
}
"""Beside what the recipe `pocket` says."""


BEGINNING = PACE | {"rl", "carft"}
"""Settings that the common beginning does not depend on."""


class RecordedAnswers(HeldOutProblems):
    """Measures on held-out problems, and keeps what came of each."""

    outcomes: dict[str, tuple[int, int]]
    """(graded samples, correct samples) by problem id, of the last evaluation."""

    async def answer(self, reasoner: Reasoner, problems: Sequence[Problem]) -> list[HeldOutAnswer]:
        """Answers, grades and counts."""
        answers = await super().answer(reasoner, problems)
        counts: dict[str, list[bool]] = defaultdict(list)
        for answer in answers:
            counts[answer.problem_id].append(answer.correct)
        self.outcomes = {name: (len(correct), sum(correct)) for name, correct in counts.items()}
        return answers


def main() -> None:
    """Trains what is missing, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-carft"))
    parser.add_argument("--arms", default="grpo,positives,negatives", help=f"of {', '.join(ARMS)}")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--steps", type=int, default=12, help="rollout steps of each training")
    parser.add_argument("--coefficient", type=float, default=CarftSettings().coefficient)
    parser.add_argument("--json", type=Path, metavar="FILE", help="all numbers; OUT/results.json")
    parser.add_argument("--plot", type=Path, metavar="FILE.html", help="charts, on one page; OUT/results.html")
    parser.add_argument("--report", action="store_true", help="of what there is; trains nothing")
    given = parser.parse_args()
    arms, seeds = given.arms.split(","), [int(seed) for seed in given.seeds.split(",")]
    unknown = {*arms} - {*ARMS}
    if unknown:
        parser.error(f"--arms has {', '.join(sorted(unknown))}; choose from {', '.join(ARMS)}")
    sizes = {**SIZES, "rl.steps": given.steps, "carft.coefficient": given.coefficient}
    recipe = load_recipe("pocket", {name: str(value) for name, value in sizes.items()})
    if not given.report:
        _train(given.out, recipe, arms, seeds, lambda: _write(given, recipe, arms, seeds, quiet=True))
    _write(given, recipe, arms, seeds)


def _train(
    out: Path, recipe: Recipe, arms: Sequence[str], seeds: Sequence[int], after_each: Callable[[], None]
) -> None:
    """Makes the common beginning and every training that is missing, all arms of a seed before the next seed."""
    settings = options.run_settings(recipe)
    with Interpreter(recipe.rollout.workers, recipe.rollout.tier) as interpreter:
        with RunDirectory(out / "base") as run:
            keep_config(run, settings, BEGINNING)
            problems = collect_problems(run, recipe)
            intervener = options.intervener_of(settings, run.path)
            base = Adaptation(settings, run, options.base_directory(settings), intervener)
            base.curate(problems.sft, interpreter)
            fine_tune(run, recipe, base.base, base.golden())
            start = model_path(run, Stage.SFT)
        with RunDirectory(out / "annotated") as run:
            keep_config(run, settings, BEGINNING)
            Adaptation(settings, run, base.base, intervener).curate(problems.rl, interpreter)
        annotated = read_annotated(out / "annotated")
        for seed in seeds:
            for arm in arms:
                own = changed(settings, {"seed": str(seed), **_of_arm(arm, recipe)}, arm)
                with RunDirectory(out / "arms" / f"{arm}-{seed}") as run:
                    _reinforce(run, own, start, problems, annotated, interpreter)
                gc.collect()  # a trainer and its callbacks know each other, and hold model and caches
                after_each()


def _of_arm(arm: str, recipe: Recipe) -> dict[str, str]:
    if arm == "grpo":
        return {}
    # the annotated trajectory is one row more for each problem
    return {"rl.objective": "carft", "carft.variant": arm, "rl.micro_batch": str(recipe.rl.samples + 1)}


def _reinforce(
    run: RunDirectory,
    recipe: RunConfig,
    start: Path,
    problems: Parts,
    annotated: Mapping[str, GoldenTrajectory],
    interpreter: Interpreter,
) -> None:
    """Trains one arm with one seed, unless that is done; steps go to `rl`, evaluations to `outcomes`."""
    output = model_path(run, Stage.RL)
    if output.exists():
        return
    keep_config(run, recipe)
    done = completed_steps(output, recipe.rl)
    run.drop("rl", lambda row: row["step"] > done)
    run.drop("outcomes", lambda row: row["step"] > done)
    measured = RecordedAnswers(problems.test, recipe, interpreter, Stage.RL)

    def evaluated(evaluation: RlEvaluation) -> None:
        run.append("outcomes", {**evaluation.model_dump(), "outcomes": measured.outcomes})
        accuracy = percent(evaluation.evaluation.pass_at_1 or 0.0)
        note(f"{run.path.name}: {accuracy} of held-out problems after {evaluation.step} steps")

    def stepped(step: RlStep) -> None:
        run.append("rl", step)
        note(f"{run.path.name}: step {step.step}, reward {step.reward:.2f}, {step.seconds:.0f} s")

    known = [RlEvaluation(step=row["step"], evaluation=row["evaluation"]) for row in run.read_rows("outcomes")]
    train_grpo(
        start,
        problems.rl,
        output,
        recipe.rl,
        interpreter,
        rollouts=recipe.rollout,
        prompt=recipe.prompt,
        carft=recipe.carft,
        annotated=annotated,
        seed=recipe.seed,
        on_step=stepped,
        watch=Watch(measured, known, evaluated),
    )


def _write(
    given: argparse.Namespace, recipe: Recipe, arms: Sequence[str], seeds: Sequence[int], quiet: bool = False
) -> None:
    results = collect(given.out / "arms", arms, seeds)
    if not quiet:
        show(results)
    document = {"recipe": recipe.model_dump(mode="json", include={"rl", "carft", "problems"}), **results.as_json()}
    (given.json or given.out / "results.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    write_page(given.plot or given.out / "results.html", results)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except CalmstormError as error:
        sys.exit(str(error))
