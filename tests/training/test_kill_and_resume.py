from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import train_and_die

from calmstorm.training.checkpoints import completed_updates, work_dir
from calmstorm.training.grpo import completed_steps

KILLED_AFTER = 5
STEPS = {"sft": 8, "rl": 6}
RESUMED_AFTER = {"sft": 3, "rl": 4}


def run(kind: str, model: Path, output: Path, log: Path, last: int) -> int:
    command = [sys.executable, train_and_die.__file__, kind, str(model), str(output), str(log), str(last)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, check=False, capture_output=True, timeout=120).returncode


@pytest.mark.parametrize("kind", ["sft", "rl"])
def test_a_killed_training_ends_as_if_it_had_not_been_interrupted(
    kind: str, random_model: Path, coin_model: Path, tmp_path: Path
) -> None:
    model = {"sft": random_model, "rl": coin_model}[kind]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(kind, model, whole, tmp_path / "whole.log", 0) == 0
    assert run(kind, model, killed, tmp_path / "killed.log", KILLED_AFTER) == -signal.SIGKILL
    assert not killed.exists()

    torn = work_dir(killed) / "checkpoint-99"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_step": 99')
    done = completed_updates(killed) if kind == "sft" else completed_steps(killed, train_and_die.RL)
    assert done == RESUMED_AFTER[kind]

    logged = (tmp_path / "killed.log").read_text().splitlines()
    kept = [line for line in logged if int(line.split()[1]) <= done]  # as the caller does
    (tmp_path / "killed.log").write_text("\n".join(kept) + "\n")
    assert run(kind, model, killed, tmp_path / "killed.log", 0) == 0

    assert (tmp_path / "killed.log").read_text() == (tmp_path / "whole.log").read_text()
    assert f"step {STEPS[kind]} " in (tmp_path / "whole.log").read_text()
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert not work_dir(killed).exists()
