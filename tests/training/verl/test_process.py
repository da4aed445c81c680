from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calmstorm.errors import InfrastructureError
from calmstorm.training.verl.process import MARK, check_ended, marked, reason, running, sweep

DAEMON = """
import subprocess, sys, time
daemon = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("started", flush=True)
time.sleep(600)
"""


def wait_for(condition: object, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_a_training_started_ends_with_it_although_it_left_the_group(tmp_path: Path) -> None:
    with running([sys.executable, "-c", DAEMON], tmp_path, "cpu") as process:
        wait_for(lambda: len(marked(tmp_path)) == 2)
        assert not check_ended(process, tmp_path)
    assert marked(tmp_path) == []


def test_what_a_killed_training_left_behind_is_ended_by_the_next_one(tmp_path: Path) -> None:
    orphan = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env={**os.environ, MARK: str(tmp_path)},
        start_new_session=True,
    )
    wait_for(lambda: marked(tmp_path) == [orphan.pid])
    sweep(tmp_path / "other")
    assert orphan.poll() is None
    with running([sys.executable, "-c", ""], tmp_path, "cpu"):
        assert orphan.wait(10) == -signal.SIGKILL


def test_a_training_ends_when_we_are_killed(tmp_path: Path) -> None:
    ours = f"""
import sys, time
from pathlib import Path
from calmstorm.training.verl.process import running
with running([sys.executable, "-c", "import time; time.sleep(600)"], Path({str(tmp_path)!r}), "cpu"):
    time.sleep(600)
"""
    us = subprocess.Popen([sys.executable, "-c", ours])
    wait_for(lambda: len(marked(tmp_path)) == 1)
    us.kill()
    us.wait()
    wait_for(lambda: not marked(tmp_path))


def test_a_failure_is_told_in_one_line(tmp_path: Path) -> None:
    failing = (
        r"print('Traceback\n  File x'); print('\x1b[36m(Worker pid=1)\x1b[0m ValueError: no such thing.'); exit(3)"
    )
    with running([sys.executable, "-c", failing], tmp_path, "cpu") as process:
        process.wait()
        with pytest.raises(InfrastructureError, match=r"status 3: ValueError: no such thing \("):
            check_ended(process, tmp_path)


def test_a_log_without_an_error_tells_its_last_line(tmp_path: Path) -> None:
    log = tmp_path / "verl.log"
    log.write_text("one\n\x1b[36mtwo\x1b[0m\n\n")
    assert reason(log) == "two"
    log.write_text("")
    assert reason(log) == "it printed nothing"
