"""`calm rl --engine verl` on a CPU: verl's own `main_ppo`, killed in the middle, resumed, exported and evaluated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from calmstorm.training.checkpoints import work_dir
from calmstorm.training.verl.process import marked
from tests.engines.calm_command import rows, settings
from tests.engines.verl_training import easy_problems, verl_python

pytestmark = [pytest.mark.engines, pytest.mark.timeout(2400)]

SMALL = {
    "rl.steps": 5,
    "rl.prompts_per_step": 4,
    "rl.mini_batch": 4,
    "rl.micro_batch": 4,
    "rl.samples": 4,
    "rl.checkpoint_steps": 2,
}
SECONDS = 1200


@pytest.fixture(scope="module")
def python() -> Path:
    found = verl_python()
    if found is None:
        pytest.skip("verl is not installed: run make verl, or name its Python in CALM_VERL_PYTHON")
    return found


def start(python: Path, folder: Path, *words: str) -> subprocess.Popen[bytes]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (folder / "calm.log").open("ab") as log:
        return subprocess.Popen(
            [python, "-m", "calmstorm", *words], cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=log
        )


def wait_for_rows(run: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while len(rows(run, "rl")) < count:
        assert process.poll() is None, (run.parent / "calm.log").read_text()[-3000:]
        assert time.monotonic() < until
        time.sleep(0.2)


def test_a_killed_training_is_resumed_without_doubled_steps_and_its_model_is_evaluated(
    python: Path, tmp_path: Path
) -> None:
    with (tmp_path / "rl.jsonl").open("w") as file:
        for problem in easy_problems(16):
            print(problem.model_dump_json(by_alias=True), file=file)
    run = tmp_path / "run"
    work = work_dir(run / "models" / "rl").resolve()
    words = ["rl", "run", "--problems", "rl.jsonl", "--engine", "verl", *settings(SMALL)]
    first = start(python, tmp_path, *words, "--recipe", "pocket")
    wait_for_rows(run, 3, first)
    started = marked(work)
    assert len(started) > 5  # Ray's daemons and workers too
    first.send_signal(signal.SIGKILL)
    for process in started:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    first.communicate()

    second = start(python, tmp_path, *words)
    printed, _ = second.communicate(timeout=SECONDS)
    assert second.returncode == 0, (tmp_path / "calm.log").read_text()[-3000:]
    assert printed.decode().strip() == "run/models/rl"
    assert marked(work) == []
    steps = rows(run, "rl")
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5]
    assert max(row["logprob_difference"] for row in steps) < 1e-4
    made = [(row["step"], row["problem_id"], row["sample"]) for row in rows(run, "rl_rollouts")]
    assert len(made) == len({*made}) == 5 * 4 * 4
    assert sorted(path.name for path in (run / "models").iterdir()) == ["rl"]

    measured = start(
        python, tmp_path, "eval", "--problems", "rl.jsonl", "--limit", "4", "--reasoner", "run/models/rl", "--json"
    )
    printed, _ = measured.communicate(timeout=SECONDS)
    assert json.loads(printed)["summary"]["problems"] == 4
