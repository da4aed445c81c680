"""Two processes that train together: they equal one, and they can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from calmstorm.training.checkpoints import work_dir
from calmstorm.training.grpo import completed_steps
from tests.training import train_and_die
from tests.training.trained_server import TrainedDouble

ROOT = Path(__file__).parents[2]
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")


def launch(processes: int, output: Path, model: Path, last: int = 0) -> int:
    """Trains in so many processes, which are killed after step `last`; returns the launcher's exit status."""
    script = ["-m", "tests.training.train_and_die", "rl", model, output, output.with_suffix(".log"), last]
    command = [*TORCHRUN, f"--nproc_per_node={processes}", *map(str, script)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, timeout=280).returncode


def lines(log: Path, kind: str) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines() if line.startswith(kind)]


def teaching_rows(log: Path) -> list[list[int]]:
    """Returns of each step how many rows each process had that teach something."""
    counts = []
    for step in {line[1] for line in lines(log, "rollout")}:
        rewards = [float(line[4]) for line in lines(log, "rollout") if line[1] == step]
        groups = [rewards[at : at + 4] for at in range(0, len(rewards), 4)]
        own = [groups[:2], groups[2:]]  # as `passes.spread` gives them out
        counts.append([sum(4 for group in part if len({*group}) > 1) for part in own])
    return counts


def difference(first: Path, second: Path) -> float:
    """Returns the largest one between weights."""
    ours, theirs = (load_file(model / "model.safetensors") for model in (first, second))
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.mark.engines
@pytest.mark.timeout(1200)  # four trainings
def test_two_processes_equal_one_and_go_on_after_both_are_killed(coin_model: Path, tmp_path: Path) -> None:
    one, two, killed = tmp_path / "one", tmp_path / "two", tmp_path / "killed"
    assert launch(1, one, coin_model) == 0
    assert launch(2, two, coin_model) == 0
    assert lines(two.with_suffix(".log"), "rollout") == lines(one.with_suffix(".log"), "rollout")
    assert any(len({*counts}) > 1 for counts in teaching_rows(two.with_suffix(".log")))
    assert difference(one, two) < 1e-5

    assert launch(2, killed, coin_model, last=5) != 0
    done = completed_steps(killed, train_and_die.RL)
    assert done == 4
    log = killed.with_suffix(".log")
    kept = [line for line in log.read_text().splitlines() if int(line.split()[1]) <= done]  # as the caller does
    log.write_text("\n".join(kept) + "\n")
    for left in tmp_path.glob("*.pid*"):
        left.unlink()
    assert launch(2, killed, coin_model) == 0
    assert lines(log, "rollout") == lines(two.with_suffix(".log"), "rollout")
    assert difference(killed, two) < 1e-5  # sums of two processes vary in their last digits from run to run
    assert not work_dir(killed).exists()


@pytest.mark.engines
@pytest.mark.parametrize("development", [True, False])
def test_the_first_process_brings_servers_the_weights_and_all_ask_them_or_fail_alike(
    random_model: Path, tmp_path: Path, development: bool
) -> None:
    with TrainedDouble(development=development) as server:
        words = (
            *TORCHRUN,
            "--nproc_per_node=2",
            "-m",
            "tests.training.sync_and_ask",
            random_model,
            server.url,
            tmp_path,
        )
        environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        subprocess.run([*map(str, words)], env=environment, cwd=ROOT, check=True, capture_output=True, timeout=280)
    said = [(tmp_path / f"rank{number}").read_text() for number in range(2)]
    assert said[0] == said[1]
    if development:
        assert said[0] == ", ".join(["10 True False"] * 2)
        assert (len(server.loaded), len(server.requests)) == (2, 4)
    else:
        assert said[0].startswith("InputError")
        assert "VLLM_SERVER_DEV_MODE=1" in said[0]
