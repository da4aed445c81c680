"""A server that is gone for a while: a curation waits for it, and no sample counts as failed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from calmstorm.reasoner.opening import pocket_directory
from tests.engines.calm_command import last_lines, require_whole_curation, rows, start_calm
from tests.engines.scripted_models import hints_needed, reasoner_server, write_problems

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

PROBLEMS = 120
OUTAGE_SECONDS = 25.0


def test_every_sample_ends_although_the_server_is_gone_for_25_seconds(tmp_path: Path) -> None:
    ids = write_problems(tmp_path / "problems.jsonl", PROBLEMS)
    run, log = tmp_path / "run", tmp_path / "calm.log"
    with reasoner_server(seconds=0.5) as server:
        served = ("--reasoner", server.url, "--model", "scripted", "--tokenizer", pocket_directory())
        pace = ("--set", "rollout.concurrency=16")
        words = ("--problems", tmp_path / "problems.jsonl", "--run", run, "--intervener", "rules")
        process = start_calm("curate", *words, *served, *pace, log=log)
        wait_for_trajectories(run, 20)
        server.stop()
        time.sleep(OUTAGE_SECONDS)
        stored, running = len(rows(run, "trajectories")), process.poll() is None
        server.start()
        process.communicate(timeout=400)
    assert running, f"the curation gave up during the outage:\n{last_lines(log)}"
    assert stored < PROBLEMS
    assert process.returncode == 0, last_lines(log)
    require_whole_curation(run, ids)
    assert len(rows(run, "golden")) >= sum(hints_needed(name) == 0 for name in ids)


def wait_for_trajectories(run: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(rows(run, "trajectories")) < count:
        assert time.monotonic() < deadline, "the curation does not get going"
        time.sleep(0.05)
