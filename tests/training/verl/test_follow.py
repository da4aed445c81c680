"""Steps that verl logs reach the run once and in order, also after a kill at any point."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from calmstorm.records import Problem
from calmstorm.settings import load_recipe
from calmstorm.training.steps import RlStep
from calmstorm.training.verl.config import CHECKPOINTS, EVALUATIONS, METRICS, ROLLOUTS, VerlTraining
from calmstorm.training.verl.follow import Follower, Listener
from calmstorm.training.verl.metrics import DumpedRollout
from calmstorm.training.watching import HeldOutAnswer, HeldOutScore, RlEvaluation, Watch, Watcher
from tests.training.verl.test_checkpoints import write_checkpoint
from tests.training.verl.test_metrics import NUMBERS, line


class Run:
    """What a run would hold, and a work directory that verl writes to."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.steps: list[int] = []
        self.rollouts: list[tuple[int, str]] = []
        self.resumed: list[int] = []
        self.known: list[int] = []
        """Steps whose evaluation it has."""

    def follower(self) -> Follower:
        recipe = load_recipe("pocket", {"rl.prompts_per_step": "1", "rl.mini_batch": "1", "rl.samples": "2"})
        training = VerlTraining(recipe, "model", self.work, steps=9, steps_per_pass=3, device="cpu")
        return Follower(training, Listener(self._step, self._rollout, self._resume), max(self.steps, default=0))

    def _step(self, step: RlStep) -> None:
        self.steps.append(step.step)

    def _rollout(self, rollout: DumpedRollout) -> None:
        self.rollouts.append((rollout.step, f"{rollout.problem_id}/{rollout.sample}"))

    def _resume(self, done: int) -> None:
        self.resumed.append(done)
        self.steps = [step for step in self.steps if step <= done]
        self.rollouts = [pair for pair in self.rollouts if pair[0] <= done]

    def log(self, step: int, end: str = "\n") -> None:
        """Writes what verl writes of a step."""
        (self.work / ROLLOUTS).mkdir(exist_ok=True)
        dump = [{"uid": f"g_{sample}_0", "gts": "p", "score": 1.0, "output": "x", "step": step} for sample in range(2)]
        (self.work / ROLLOUTS / f"{step}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in dump))
        with (self.work / METRICS).open("a") as metrics:
            metrics.write(line(step, **NUMBERS) + end)

    def checkpoint(self, step: int) -> None:
        write_checkpoint(self.work / CHECKPOINTS, step)


def test_steps_are_told_as_they_are_logged_and_their_texts_removed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    follower = run.follower()
    run.log(1)
    run.log(2, end="")  # still being written
    follower.tell_new(wait=False)
    assert run.steps == [1]
    assert run.rollouts == [(1, "p/0"), (1, "p/1")]
    assert not (tmp_path / ROLLOUTS / "1.jsonl").exists()
    with (tmp_path / METRICS).open("a") as metrics:
        metrics.write("\n")
    follower.tell_new(wait=False)
    assert run.steps == [1, 2]


def test_what_was_logged_before_a_kill_is_taken_up_and_what_is_made_again_taken_out(tmp_path: Path) -> None:
    run = Run(tmp_path)
    follower = run.follower()
    run.log(1)
    run.checkpoint(1)
    follower.tell_new(wait=False)
    run.log(2)
    run.checkpoint(2)
    run.log(3)  # its checkpoint was not written yet, and nobody was told of 2 and 3
    run.rollouts.append((2, "p/0"))  # told of a rollout of step 2, then killed
    training = run.follower().catch_up()
    assert training.resume_from == tmp_path / CHECKPOINTS / "global_step_2"
    assert run.steps == [1, 2]
    assert run.rollouts == [(1, "p/0"), (1, "p/1"), (2, "p/0"), (2, "p/1")]
    assert not (tmp_path / METRICS).exists()


def test_a_checkpoint_whose_step_was_never_logged_is_made_again(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.log(1)
    run.checkpoint(1)
    run.checkpoint(2)
    training = run.follower().catch_up()
    assert training.resume_from == tmp_path / CHECKPOINTS / "global_step_1"
    assert not (tmp_path / CHECKPOINTS / "global_step_2").exists()
    assert run.steps == [1]


def test_a_resumed_training_tells_of_steps_after_its_checkpoint_only(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step in (1, 2):
        run.log(step)
        run.checkpoint(step)
    follower = run.follower()
    follower.catch_up()
    run.log(3)
    follower.tell_new(wait=False)
    assert run.steps == [1, 2, 3]
    assert len(run.rollouts) == 6


def test_a_new_training_begins_at_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.follower().catch_up().resume_from is None
    assert run.resumed == [0, 0]


class Measure:
    """Held-out problems, and how many of their answers were right as a score."""

    problems = (Problem(id="h", question="?"),)

    async def answer(self, reasoner: object, problems: object) -> list[HeldOutAnswer]:
        raise AssertionError("verl answers")

    def score(self, answers: Sequence[HeldOutAnswer]) -> HeldOutScore:
        right = [answer.correct for answer in answers]
        return HeldOutScore(pass_at_1=sum(right) / len(right), ci95=None, problems=1, samples=len(right))


def watched(run: Run, **rl: str) -> tuple[Follower, list[tuple[int, float | None]]]:
    """Returns a follower that evaluates after every step, and what it tells of evaluations."""
    told: list[tuple[int, float | None]] = []
    sizes = {"prompts_per_step": "1", "mini_batch": "1", "samples": "2", "evaluation_steps": "1", **rl}
    recipe = load_recipe("pocket", {f"rl.{key}": value for key, value in sizes.items()})
    training = VerlTraining(recipe, "model", run.work, steps=9, steps_per_pass=3, device="cpu", evaluates=True)
    known = [RlEvaluation(step=step, evaluation=Measure().score([HeldOutAnswer("", "h", True)])) for step in run.known]
    watch = Watch(Measure(), known, lambda evaluation: told.append((evaluation.step, evaluation.evaluation.pass_at_1)))
    listener = Listener(run._step, run._rollout, run._resume)
    return Follower(training, listener, max(run.steps, default=0), Watcher(recipe.rl, watch)), told


def evaluate(run: Run, step: int, right: bool) -> None:
    """Writes what verl writes of an evaluation; it comes before the step's line."""
    (run.work / EVALUATIONS).mkdir(exist_ok=True)
    row = {"uid": "g_0_0", "gts": "h", "score": float(right), "output": "x", "step": step}
    (run.work / EVALUATIONS / f"{step}.jsonl").write_text(json.dumps(row) + "\n")


def test_an_evaluation_before_the_first_step_and_after_others_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path)
    follower, told = watched(run)
    evaluate(run, 0, right=False)
    with (tmp_path / METRICS).open("a") as metrics:
        metrics.write(line(0, **{"val-core/s/reward/mean@1": 0.0}) + "\n")
    evaluate(run, 1, right=True)
    run.log(1)
    follower.tell_new(wait=False)
    assert told == [(0, 0.0), (1, 1.0)]
    assert run.steps == [1]


def test_the_best_weights_are_kept_and_checkpoints_that_nobody_needs_removed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    follower, _ = watched(run, keep='"best"')
    for step, right in ((1, True), (2, False), (3, False), (4, False)):
        evaluate(run, step, right)
        run.checkpoint(step)
        run.log(step)
        follower.tell_new(wait=False)
    assert follower.kept == 1
    assert sorted(path.name for path in (tmp_path / CHECKPOINTS).glob("global_step_*")) == [
        f"global_step_{step}" for step in (1, 3, 4)
    ]


def test_a_training_is_over_when_patience_ends(tmp_path: Path) -> None:
    run = Run(tmp_path)
    follower, _ = watched(run, patience="2")
    for step, right in ((1, True), (2, False), (3, False)):
        assert not follower.is_over
        evaluate(run, step, right)
        run.checkpoint(step)
        run.log(step)
        follower.tell_new(wait=False)
    assert follower.is_over
    assert follower.kept == 3  # the last ones, since rl.keep is "last"


def test_evaluations_after_the_checkpoint_are_made_again(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.steps, run.known = [1, 2], [0, 1, 2]
    run.checkpoint(1)
    follower, told = watched(run)
    follower.catch_up()
    evaluate(run, 2, right=False)
    run.log(2)
    follower.tell_new(wait=False)
    assert told == [(2, 0.0)]
