"""`calm sft RUN --launch` as a user sees it: one line where it refuses, nothing left behind where it is stopped."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from calmstorm.runs import RunDirectory
from calmstorm.settings import RunConfig
from calmstorm.stages import keep_config
from tests.engines.calm_command import calm, rows, settings, start_calm
from tests.training.tiny_model import golden, write_tiny_model

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]
QUICK = {"sft.processes": 2, "sft.batch": 4, "sft.micro_batch": 2, "sft.learning_rate": 1e-2}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    model = write_tiny_model(tmp_path / "model")
    with RunDirectory(tmp_path / "run") as directory:
        keep_config(directory, RunConfig(command="curate", reasoner=str(model), prompt="pocket-1"))
        for number in range(9):
            directory.append("golden", golden(number, answer=number))
    return tmp_path / "run"


def test_two_processes_write_one_run_and_say_what_one_process_says(run: Path, tmp_path: Path) -> None:
    log, alone = tmp_path / "log", tmp_path / "alone.log"
    printed = calm("sft", run, *settings(QUICK | {"sft.validation": 0.2}), "--launch", log=log)
    assert printed == f"{run / 'models' / 'sft'}\n"
    (line,) = log.read_text().splitlines()
    assert line.startswith("sft: 6 steps on 7 trajectories; step ")
    together = rows(run, "sft")
    (run / "models" / "sft").rename(tmp_path / "two")
    calm("sft", run, *settings(QUICK | {"sft.processes": 1, "sft.validation": 0.2}), log=alone)
    assert [row["step"] for row in together] == [1, 2, 3, 4, 5, 6]
    for two, one in zip(together, rows(run, "sft")[-6:], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=2e-3)
    assert [row["stage"] for row in rows(run, "timing")] == ["sft", "sft"]


def test_what_is_refused_is_said_once_with_status_2(run: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    calm("sft", run, *settings(QUICK | {"sft.sequence_tokens": 10}), "--launch", log=log, status=2)
    (line,) = log.read_text().splitlines()
    assert line.startswith("calm: there is nothing to fine-tune on: 9 golden trajectories, 9 of them longer")


def test_without_launch_the_command_is_said(run: Path, tmp_path: Path) -> None:
    printed = calm("sft", run, *settings(QUICK), log=tmp_path / "log")
    assert printed.startswith("ACCELERATE_USE_CPU=true torchrun --standalone --nproc_per_node 2 -m calmstorm sft")
    assert "give --launch" in (tmp_path / "log").read_text()
    assert not (run / "models").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_training_that_is_stopped_leaves_no_process(how: signal.Signals, run: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start_calm("sft", run, *settings(QUICK | {"sft.epochs": 5000}), "--launch", log=log)
    try:
        deadline = time.monotonic() + 300
        while not rows(run, "sft"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert len(_of(run)) == 3
        process.send_signal(how)
        process.communicate(timeout=120)
    finally:
        process.kill()
    status = process.returncode
    assert status == {signal.SIGINT: 130, signal.SIGTERM: 1, signal.SIGKILL: -signal.SIGKILL}[how]
    deadline = time.monotonic() + 60
    while _of(run):
        assert time.monotonic() < deadline, _of(run)
        time.sleep(0.2)
    if how is signal.SIGINT:
        assert log.read_text().count("interrupted") == len(log.read_text().splitlines()) == 1
    with RunDirectory(run):  # nobody holds it
        pass


def _of(run: Path) -> list[int]:
    """Processes whose command names the run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(run) in words:
            found.append(int(path.parent.name))
    return found
