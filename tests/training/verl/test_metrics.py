from __future__ import annotations

import json
from pathlib import Path

import pytest

from calmstorm.errors import WorkError
from calmstorm.training.verl.metrics import DumpedRollout, LoggedStep, parse_steps, read_rollouts, rl_step

NUMBERS = {
    "training/global_step": 3,
    "calm/reward": 0.5,
    "calm/code_blocks": 1.25,
    "calm/response_tokens": 300.0,
    "calm/silent_groups": 0.25,
    "calm/ungraded": 1.0,
    "calm/logprob_gap": 1e-6,
    "actor/grad_norm": 0.1,
    "timing_s/step": 12.0,
    "timing_s/gen": 8.0,
}


def line(step: int, **numbers: object) -> str:
    return json.dumps({"step": step, "data": numbers})


def test_a_logged_step_becomes_a_step_of_the_run() -> None:
    (logged,) = parse_steps([line(3, **NUMBERS)])
    step = rl_step(logged)
    assert (step.step, step.reward, step.code_blocks, step.ungraded) == (3, 0.5, 1.25, 1)
    assert (step.silent_groups, step.logprob_difference, step.grad_norm) == (0.25, 1e-6, 0.1)
    assert (step.seconds, step.rollout_seconds) == (12.0, 8.0)


def test_a_line_with_only_an_evaluation_is_no_step() -> None:
    alone, step = parse_steps([line(0, **{"val-core/easy/solved/mean@1": 0.5}), line(1, **NUMBERS)])
    assert (alone.is_trained, step.is_trained) == (False, True)


def test_numbers_that_are_not_finite_are_left_out() -> None:
    (logged,) = parse_steps(['{"step": 1, "data": {"training/global_step": 1, "a": NaN, "b": 1, "c": null}}'])
    assert logged == LoggedStep(1, {"training/global_step": 1.0, "b": 1.0})


def test_a_line_that_is_no_step_is_our_error() -> None:
    with pytest.raises(WorkError, match="no step"):
        parse_steps(["something else"])


def test_a_trainer_without_the_plugin_is_noticed() -> None:
    numbers = {name: value for name, value in NUMBERS.items() if not name.startswith("calm/")}
    with pytest.raises(WorkError, match="plugin was not loaded"):
        rl_step(LoggedStep(3, numbers))


def test_dumped_rollouts_are_told_apart_by_problem_and_sample(tmp_path: Path) -> None:
    rows = [
        {"uid": "a1-b_0_0", "gts": "p0", "score": 1.0, "output": "text", "step": 4},
        {"uid": "a1-b_1_0", "gts": "p0", "score": 0.0, "output": "", "step": 4},
    ]
    (tmp_path / "4.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"uid": "half')
    assert read_rollouts(tmp_path, 4) == [DumpedRollout(4, "p0", 0, 1.0), DumpedRollout(4, "p0", 1, None)]
    assert read_rollouts(tmp_path, 5) == []
    assert DumpedRollout(4, "p0", 0, 1.0).row() == {"step": 4, "problem_id": "p0", "sample": 0, "reward": 1.0}
