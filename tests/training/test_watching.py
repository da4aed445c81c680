"""Evaluation while training: its place in the log, the best weights, an early end, and kills in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from calmstorm.cli import main as calm
from calmstorm.errors import InputError
from calmstorm.records import LabelStatus, Problem
from calmstorm.runs import RunDirectory
from calmstorm.settings import RlSettings
from calmstorm.stages import watching as stage_watching
from calmstorm.stages.status import training_status
from calmstorm.stages.watching import held_out
from calmstorm.training.watching import HeldOutAnswer, HeldOutScore, RlEvaluation, Watch, Watcher, best_step
from tests.training import watch_and_die
from tests.training.tiny_model import coin_problems

ROOT = Path(__file__).parents[2]


def log(run: Path) -> list[dict[str, Any]]:
    """The log without what differs from time to time: seconds, and the last bits of log-probabilities."""
    rows = [json.loads(line) for line in (run / "rl.jsonl").read_text().splitlines()]
    for row in rows:
        for part in (row, row.get("evaluation", {})):
            for name in [name for name in part if name.endswith("seconds") or name.startswith("logprob")]:
                del part[name]
        row["grad_norm"] = round(row.get("grad_norm", 0.0), 5)
    return rows


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "models" / "rl" / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.allclose(value, second[name], atol=1e-5) for name, value in first.items())


def evaluations(run: Path) -> dict[int, dict[str, Any]]:
    return {row["step"]: row["evaluation"] for row in log(run) if "evaluation" in row}


@pytest.fixture(scope="module")
def whole(coin_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted training."""
    run = tmp_path_factory.mktemp("watched") / "run"
    watch_and_die.main(coin_model, run)
    return run


def test_accuracy_on_held_out_problems_stands_in_the_log_before_between_and_after_the_steps(whole: Path) -> None:
    kinds = [(row["step"], "evaluation" in row) for row in log(whole)]
    steps = [(step, False) for step in range(1, 7)]
    assert kinds == [(0, True), *steps[:2], (2, True), *steps[2:4], (4, True), *steps[4:], (6, True)]
    for score in evaluations(whole).values():
        low, high = score["ci95"]
        assert 0 <= low <= score["pass_at_1"] <= high <= 1
        assert (score["problems"], score["samples"]) == (4, 4)
    assert evaluations(whole)[6]["pass_at_1"] > evaluations(whole)[0]["pass_at_1"]
    trained = {row["problem_id"] for row in RunDirectory(whole, readonly=True).read_rows("rl_rollouts")}
    assert len(trained) == 4  # the others were held out


@pytest.mark.parametrize("line", [4, *(pytest.param(line, marks=pytest.mark.engines) for line in (2, 6, 10))])
def test_a_training_killed_at_any_point_ends_with_the_same_log_and_weights(
    coin_model: Path, whole: Path, tmp_path: Path, line: int
) -> None:
    """Lines 2 and 6 are steps, 4 is an evaluation in between, 10 the one after the last step."""
    run = tmp_path / "run"
    script = [sys.executable, "-m", "tests.training.watch_and_die", str(coin_model), str(run), str(line)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    killed = subprocess.run(script, env=environment, cwd=ROOT, check=False, capture_output=True, timeout=240)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len((run / "rl.jsonl").read_text().splitlines()) == line - 1
    status = training_status(run)  # whatever the kill has left
    assert (status.state, status.model) == ("unfinished", None)
    assert status.steps == sum("reward" in row for row in log(run))
    if line == 4:  # the second step was to be evaluated, so that it has a checkpoint
        (stored,) = [row for row in status.rows if row.checkpoint is not None]
        assert stored.checkpoint is not None
        assert (stored.step, stored.checkpoint.complete, stored.pass_at_1) == (2, True, None)
        assert stored.checkpoint.bytes > 100_000
        (run / "models" / "rl.work" / "checkpoint-2" / "complete").unlink()
        assert not [row for row in training_status(run).rows if row.checkpoint and row.checkpoint.complete]
        (run / "models" / "rl.work" / "checkpoint-2" / "complete").touch()
    watch_and_die.main(coin_model, run)
    assert log(run) == log(whole)
    assert same(weights_of(run), weights_of(whole))


@pytest.mark.engines
def test_two_processes_share_the_problems_and_log_what_one_does(coin_model: Path, tmp_path: Path) -> None:
    for processes in (1, 2):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        script = ["-m", "tests.training.watch_and_die", str(coin_model), str(tmp_path / str(processes)), "0"]
        environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*launcher, *script], env=environment, cwd=ROOT, check=False, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stderr[-2000:]
    assert evaluations(tmp_path / "2") == evaluations(tmp_path / "1")
    assert [score["problems"] for score in evaluations(tmp_path / "2").values()] == [4, 4, 4]
    assert same(weights_of(tmp_path / "2"), weights_of(tmp_path / "1"))
    assert (tmp_path / "2" / "models" / "rl" / "README.md").exists()


def test_the_status_of_a_training_lists_steps_evaluations_and_the_best(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RunDirectory(whole), pytest.raises(SystemExit) as ended:  # it takes no lock
        calm(["rl", str(whole), "--status", "--json"])
    assert not ended.value.code
    status = json.loads(capsys.readouterr().out)
    assert (status["state"], status["steps"], status["steps_wanted"]) == ("complete", 6, 6)
    shown = {row["step"]: row for row in status["rows"]}
    assert {step: row["pass_at_1"] for step, row in shown.items()} == {
        step: score["pass_at_1"] for step, score in evaluations(whole).items()
    }
    best = max(sorted(shown), key=lambda step: shown[step]["pass_at_1"])
    assert [step for step, row in shown.items() if row["best"]] == [best]
    with pytest.raises(SystemExit):
        calm(["rl", str(whole), "--status"])
    assert "complete: 6 of 6 steps" in capsys.readouterr().out


class Told:
    """Scores as a list says, whatever the Reasoner."""

    def __init__(self, scores: Sequence[float | None], work: Path | None = None) -> None:
        self.problems = coin_problems(2)
        self.scores = [*scores]
        self.work = work
        self.checkpoints: list[set[str]] = []

    async def answer(self, reasoner: object, problems: Sequence[Problem]) -> list[HeldOutAnswer]:
        if self.work is not None:
            self.checkpoints.append({path.parent.name for path in self.work.glob("checkpoint-*/complete")})
        return []

    def score(self, answers: Sequence[HeldOutAnswer]) -> HeldOutScore:
        return HeldOutScore(pass_at_1=self.scores.pop(0), ci95=(0, 1), problems=2, samples=1)


def told(monkeypatch: pytest.MonkeyPatch, scores: Sequence[float | None], run: Path) -> Told:
    told = Told(scores, run / "models" / "rl.work")
    monkeypatch.setattr("calmstorm.stages.training.HeldOutProblems", lambda *_: told)
    return told


def test_the_best_weights_are_kept_beside_the_last_two_and_become_the_model(
    coin_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    best = tmp_path / "best"
    scores = told(monkeypatch, [0.1, 0.9, 0.2, 0.3, 0.4, 0.5, 0.6], best)
    watch_and_die.main(coin_model, best, evaluation_steps=1, checkpoint_steps=1)
    assert scores.checkpoints[-1] == {"checkpoint-1", "checkpoint-5", "checkpoint-6"}
    assert "weights of step 1 are kept as the best, 90.0% of held-out problems" in capsys.readouterr().err
    assert "weights of step 1 are kept as the best" in (best / "models" / "rl" / "README.md").read_text()
    assert not (best / "models" / "rl.work").exists()

    one = tmp_path / "one"
    told(monkeypatch, [0.1, 0.9], one)
    watch_and_die.main(coin_model, one, evaluation_steps=1, steps=1)
    assert same(weights_of(best), weights_of(one))
    assert not same(weights_of(best), load_file(coin_model / "model.safetensors"))


def test_weights_that_training_only_made_worse_are_those_it_began_with(
    coin_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, [0.5, 0.4], tmp_path)
    watch_and_die.main(coin_model, tmp_path, evaluation_steps=1, steps=1)
    assert same(weights_of(tmp_path), load_file(coin_model / "model.safetensors"))


def test_training_ends_when_patience_does_with_the_weights_of_that_step(
    coin_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told(monkeypatch, [0.1, 0.9, 0.9, 0.2], tmp_path)
    watch_and_die.main(coin_model, tmp_path, evaluation_steps=1, patience=2, keep="last")
    assert [row["step"] for row in log(tmp_path) if "reward" in row] == [1, 2, 3]
    assert max(evaluations(tmp_path)) == 3
    assert "rl: 3 steps" in (said := capsys.readouterr().err)
    assert "ended early, 2 evaluations after the best" in said
    assert (tmp_path / "models" / "rl" / "model.safetensors").exists()


def test_failed_evaluations_are_never_the_best_and_equal_ones_count_once() -> None:
    assert best_step({0: None, 2: 0.4, 4: 0.7, 6: 0.7}) == 4
    assert best_step({0: None}) is None


def test_what_a_resumed_training_has_evaluated_is_not_evaluated_again() -> None:
    known = RlEvaluation(step=2, evaluation=HeldOutScore(pass_at_1=0.5, ci95=(0, 1), problems=2, samples=1))
    settings = RlSettings(evaluation_steps=2, patience=1)
    watcher = Watcher(settings, Watch(Told([]), [known]))
    assert watcher.best == 2
    assert not watcher.is_over()


# ------------------------------------------------------------------ which problems are held out


def settings(**changes: Any) -> RlSettings:
    fields = {"evaluation_steps": 1, "evaluation_problems": 3, "prompts_per_step": 4, "mini_batch": 4}
    return RlSettings.model_validate(fields | changes)


def problems_of_a_test(count: int = 5) -> list[Problem]:
    return [
        Problem(id=f"t{n}", question=f"Test {n}", answer=1.0, status=LabelStatus.OPTIMAL, suite="easy")
        for n in range(count)
    ]


TEST = problems_of_a_test()


def test_accuracy_is_measured_on_test_problems_and_all_others_are_trained_on() -> None:
    trained, watched = held_out(coin_problems(8), TEST, (), settings(), seed=1)
    assert len(trained) == 8
    assert len(watched) == 3
    assert {problem.id for problem in watched} < {problem.id for problem in TEST}
    assert held_out(coin_problems(8), TEST, (), settings(), seed=1)[1] == watched


@pytest.mark.parametrize("chooses", [{"keep": "best"}, {"patience": 1}])
def test_weights_are_never_chosen_by_test_problems(chooses: dict[str, Any]) -> None:
    trained, watched = held_out(coin_problems(8), TEST, (), settings(**chooses), seed=1)
    assert (len(trained), len(watched)) == (5, 3)
    assert {problem.id for problem in trained}.isdisjoint(problem.id for problem in watched)
    assert {problem.id for problem in watched} < {problem.id for problem in coin_problems(8)}


def test_problems_that_the_user_names_are_taken_unless_they_are_trained_on() -> None:
    assert held_out(coin_problems(8), (), TEST, settings(keep="best"), seed=1)[0] == coin_problems(8)
    with pytest.raises(InputError, match="2 of 2 problems to evaluate on are trained on, too"):
        held_out(coin_problems(8), (), coin_problems(2), settings(), seed=1)


def test_a_training_that_would_be_left_without_problems_is_refused() -> None:
    with pytest.raises(InputError, match=r"they leave 3, and a step takes rl\.prompts_per_step = 4"):
        held_out(coin_problems(6), (), (), settings(), seed=1)


def test_nothing_is_held_out_where_nothing_is_evaluated() -> None:
    assert held_out(coin_problems(6), TEST, (), settings(evaluation_steps=0), seed=1)[1] == []


@pytest.mark.parametrize(("field", "value"), [("keep", "best"), ("patience", 2)])
def test_choosing_weights_without_evaluating_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match="needs evaluations while training, and evaluation_steps is 0"):
        RlSettings.model_validate({field: value})


def test_an_evaluation_that_our_machinery_fails_is_logged_as_such_and_training_goes_on(
    coin_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from calmstorm.errors import InfrastructureError

    async def fails(*args: object, **kwargs: object) -> int:
        raise InfrastructureError("no worker is left")

    monkeypatch.setattr(stage_watching, "evaluate", fails)
    watch_and_die.main(coin_model, tmp_path, steps=1)
    assert evaluations(tmp_path)[0] == {"pass_at_1": None, "ci95": None, "problems": 0, "samples": 0}
    said = capsys.readouterr().err
    assert "evaluation while training: no worker is left" in said
    assert "the last weights are kept" in said
