from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from calmstorm.training.checkpoints import completed_updates, work_dir
from calmstorm.training.grpo import completed_steps
from tests.training import train_and_die

ROOT = Path(__file__).parents[2]
KILLED_AFTER = 5
STEPS = {"sft": 8, "rl": 6}
RESUMED_AFTER = {"sft": 3, "rl": 4}


def run_and_kill(kind: str, model: Path, output: Path, log: Path) -> int:
    script = [sys.executable, "-m", "tests.training.train_and_die"]
    command = [*script, kind, str(model), str(output), str(log), str(KILLED_AFTER)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, cwd=ROOT, check=False, capture_output=True, timeout=240).returncode


@pytest.mark.parametrize("kind", ["sft", "rl"])
def test_a_killed_training_ends_as_if_it_had_not_been_interrupted(
    kind: str, random_model: Path, coin_model: Path, tmp_path: Path
) -> None:
    model = {"sft": random_model, "rl": coin_model}[kind]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    log, expected = tmp_path / "killed.log", tmp_path / "whole.log"
    assert run_and_kill(kind, model, killed, log) == -signal.SIGKILL
    assert not killed.exists()

    torn = work_dir(killed) / "checkpoint-99"
    torn.mkdir()
    (torn / "trainer_state.json").write_text('{"global_step": 99')
    done = completed_updates(killed) if kind == "sft" else completed_steps(killed, train_and_die.RL)
    assert done == RESUMED_AFTER[kind]

    kept = [line for line in log.read_text().splitlines() if int(line.split()[1]) <= done]  # as the caller does
    log.write_text("\n".join(kept) + "\n")
    train_and_die.main(kind, model, killed, log, last=0)
    train_and_die.main(kind, model, whole, expected, last=0)

    assert log.read_text() == expected.read_text()
    assert f"step {STEPS[kind]} " in log.read_text()
    assert (killed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert not work_dir(killed).exists()


def test_a_training_killed_while_its_model_is_written_trains_no_step_twice(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException): ...

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("calmstorm.training.sft.publish", killed)
        with pytest.raises(Killed):
            train_and_die.main("sft", random_model, tmp_path / "out", tmp_path / "log", last=0)
    before = (tmp_path / "log").read_text()
    assert completed_updates(tmp_path / "out") == STEPS["sft"]
    train_and_die.main("sft", random_model, tmp_path / "out", tmp_path / "log", last=0)
    assert (tmp_path / "log").read_text() == before
    assert (tmp_path / "out" / "model.safetensors").is_file()
