"""The whole pipeline on the pocket Reasoner, killed for real in the middle of its stages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from calmstorm.records import GoldenTrajectory, Problem, Stage, Trajectory, TrajectoryKey
from calmstorm.runs import RunDirectory

SMALL = {
    "problems.sft": 24,
    "problems.rl": 12,
    "problems.easy": 12,
    "problems.complex": 12,
    "evaluation.samples": 1,
    "sft.epochs": 1,
    "rl.steps": 2,
    "rl.prompts_per_step": 3,
    "rl.mini_batch": 3,
    "rl.micro_batch": 3,
    "rl.checkpoint_steps": 1,
}
MODEL = Path(__file__).parents[1] / "src" / "calmstorm" / "pocket" / "model" / "model.safetensors"
pytestmark = [
    pytest.mark.skipif(not MODEL.exists(), reason="the pocket model is not in this checkout"),
    pytest.mark.timeout(1200),
]


TINY = {
    **SMALL,
    "problems.sft": 4,
    "problems.rl": 3,
    "problems.easy": 2,
    "problems.complex": 2,
    "rollout.response_tokens": 400,
    "rl.response_tokens": 400,
    "rl.steps": 1,
    "rl.samples": 2,
}


def start(run: Path, settings: dict[str, int] = SMALL) -> subprocess.Popen[str]:
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return subprocess.Popen(
        [sys.executable, "-m", "calmstorm.cli", "demo", "--run", str(run), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(run: Path, settings: dict[str, int] = SMALL) -> None:
    process = start(run, settings)
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output[-2000:]


def progress_of(run: Path, stage: str) -> int:
    """Returns how many finished pieces of a stage are on disk."""
    if stage in ("sft", "rl_rollouts"):
        path = run / f"{stage}.jsonl"
        return path.read_text().count("\n") if path.exists() else 0
    path = run / "trajectories.jsonl"
    if not path.exists():
        return 0
    return sum(f'"stage":"{stage}"' in line for line in path.read_text().splitlines())


def kill_once_begun(run: Path, stage: str, settings: dict[str, int] = SMALL) -> bool:
    """Starts the demo and kills it as soon as a stage has made a little progress; says whether it caught it."""
    begun = progress_of(run, stage)
    process = start(run, settings)
    deadline = time.monotonic() + 600
    while process.poll() is None and time.monotonic() < deadline:
        if progress_of(run, stage) > begun:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            return True
        time.sleep(0.02)
    process.communicate()
    return False


def keys_of(run: Path) -> set[TrajectoryKey]:
    with RunDirectory(run, readonly=True) as directory:
        keys = [trajectory.key for trajectory in directory.trajectories()]
    assert len(keys) == len(set(keys)), "a trajectory was made twice"
    return set(keys)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    finish(run)
    return run


def test_a_tiny_demo_killed_in_two_stages_is_finished_with_nothing_lost_or_doubled(tmp_path: Path) -> None:
    run = tmp_path / "tiny"
    caught = [stage for stage in ("curation", "sft") if kill_once_begun(run, stage, TINY)]
    assert caught == ["curation", "sft"]
    finish(run, TINY)
    with RunDirectory(run, readonly=True) as directory:
        problems = [problem.id for problem in directory.read("problems", Problem)]
        rounds: dict[str, list[int]] = defaultdict(list)
        for trajectory in directory.trajectories(Stage.CURATION):
            rounds[trajectory.problem_id].append(trajectory.round)
    evaluated = {key for key in keys_of(run) if key.stage != Stage.CURATION}
    tested = [problem for problem in problems if problem.split("-")[0] in ("easy", "complex")]
    assert evaluated == {(stage, problem, 0, 0) for stage in ("base", "sft", "rl") for problem in tested}
    assert set(rounds) == {problem for problem in problems if problem.startswith("sft-")}
    assert all(made == list(range(len(made))) for made in rounds.values())
    assert (run / "report.html").exists()


@pytest.mark.engines
def test_the_demo_ends_with_a_report_and_two_models(uninterrupted: Path) -> None:
    report = json.loads((uninterrupted / "report.json").read_text())
    assert set(report["evaluation"]) == {"base", "sft", "rl"}
    assert (uninterrupted / "report.html").stat().st_size > 100_000
    assert (uninterrupted / "models" / "rl" / "model.safetensors").exists()
    with RunDirectory(uninterrupted, readonly=True) as directory:
        problems = list(directory.read("problems", Problem))
        golden = list(directory.read("golden", GoldenTrajectory))
        evaluated = {t.problem_id for t in directory.trajectories("base")}
    adapted = {p.id for p in problems if p.suite in ("sft", "rl")}
    assert golden
    assert all(g.trajectory.verdict is not None and g.trajectory.verdict.correct for g in golden)
    assert evaluated.isdisjoint(adapted)


@pytest.mark.engines
def test_a_demo_killed_in_every_stage_ends_with_the_same_keys(uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    caught = [stage for stage in ("base", "curation", "sft", "rl_rollouts", "rl") if kill_once_begun(run, stage)]
    finish(run)
    assert "base" in caught
    assert "curation" in caught
    assert len(caught) >= 4
    assert keys_of(run) == keys_of(uninterrupted)
    steps = [json.loads(line)["step"] for line in (run / "rl.jsonl").read_text().splitlines()]
    assert steps == [1, 2]


@pytest.mark.engines
def test_a_second_run_of_a_finished_demo_makes_nothing_anew(uninterrupted: Path) -> None:
    before = (uninterrupted / "trajectories.jsonl").stat().st_mtime_ns
    finish(uninterrupted)
    assert (uninterrupted / "trajectories.jsonl").stat().st_mtime_ns == before


@pytest.mark.engines
def test_another_setting_is_refused_for_a_run_that_exists(uninterrupted: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "calmstorm.cli", "demo", "--run", str(uninterrupted)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "was started with" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.engines
def test_curation_lines_hold_what_the_contract_names(uninterrupted: Path) -> None:
    with RunDirectory(uninterrupted, readonly=True) as directory:
        first = next(directory.trajectories("curation"))
    assert isinstance(first, Trajectory)
    line = json.loads(first.to_json())
    assert {
        "schema",
        "problem_id",
        "sample",
        "round",
        "stage",
        "spans",
        "stop_reason",
        "executions",
        "answer",
        "verdict",
        "usage",
    } <= set(line)
