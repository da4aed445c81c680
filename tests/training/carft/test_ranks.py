"""CARFT in two processes: they equal one, whoever has the rows that teach, and go on after both are killed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from calmstorm.training.grpo import completed_steps
from tests.training import train_and_die
from tests.training.test_ranks import ROOT, TORCHRUN, difference, lines, teaching_rows


def launch(processes: int, output: Path, model: Path, last: int = 0) -> int:
    """Trains in so many processes, which are killed after step `last`; returns the launcher's exit status."""
    script = ["-m", "tests.training.train_and_die", "carft", model, output, output.with_suffix(".log"), last]
    command = [*TORCHRUN, f"--nproc_per_node={processes}", *map(str, script)]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, timeout=600).returncode


@pytest.mark.engines
@pytest.mark.timeout(1800)
def test_two_processes_equal_one_and_go_on_after_both_are_killed(coin_model: Path, tmp_path: Path) -> None:
    """Weights, so gradients of policy and contrast; the norm of the gradient at each step."""
    one, two, killed = tmp_path / "one", tmp_path / "two", tmp_path / "killed"
    assert launch(1, one, coin_model) == 0
    assert launch(2, two, coin_model) == 0
    assert lines(two.with_suffix(".log"), "rollout") == lines(one.with_suffix(".log"), "rollout")
    assert any(len({*counts}) > 1 for counts in teaching_rows(two.with_suffix(".log")))
    norms = [[float(line[2]) for line in lines(run.with_suffix(".log"), "step")] for run in (one, two)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)
    assert difference(one, two) < 1e-5

    assert launch(2, killed, coin_model, last=2) != 0
    assert completed_steps(killed, train_and_die.CARFT) == 1
    log = killed.with_suffix(".log")
    kept = [line for line in log.read_text().splitlines() if int(line.split()[1]) <= 1]  # as the caller does
    log.write_text("\n".join(kept) + "\n")
    for left in tmp_path.glob("*.pid*"):
        left.unlink()
    assert launch(2, killed, coin_model) == 0
    assert lines(log, "rollout") == lines(two.with_suffix(".log"), "rollout")
    assert difference(killed, two) < 1e-5
