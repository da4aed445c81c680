"""`calm curate` through a server, killed for real at random moments, and resumed until it is done."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.reasoner.completion_server import Call, CompletionServer

SCRIPT = "```python\nimport pulp\nprint(400.0)\n```\n"
GOOD = "The value is plausible.\n\\boxed{400}"
FILES = ("problems", "trajectories", "interventions", "reviews", "golden")


def by_hand(call: Call) -> str:
    """Works by hand, until a hint has opened a block."""
    said = call.prompt.rpartition("assistant\n")[2]
    if "```output" in said:
        return GOOD
    opened = SCRIPT.removeprefix("```python\n")
    return opened if "```python" in said else "I model it.\nI try plans by hand.\n\\boxed{300}"


def start(run: Path, problems: Path, server: CompletionServer) -> subprocess.Popen[bytes]:
    words = ["curate", "--problems", str(problems), "--run", str(run), "--reasoner", server.url, "--model", "m"]
    words += ["--resume", "--set", "server.text_only=true", "--set", "rollout.concurrency=3"]
    return subprocess.Popen(
        [sys.executable, "-m", "calmstorm.cli", *words, "--set", "rollout.workers=1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def killed_or_done(process: subprocess.Popen[bytes], server: CompletionServer, requests: int, delay: float) -> bool:
    """Kills a curation once it has asked so often; returns whether it was done before."""
    assert process.stderr is not None
    goal = server.count + requests
    while process.poll() is None and server.count < goal:
        time.sleep(0.002)
    time.sleep(delay)
    process.kill()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() in (0, -9), error
    return process.returncode == 0


def content(run: Path, name: str) -> dict[tuple, dict]:
    """Every line by its key, without times; none may be there twice."""
    rows = [json.loads(line) for line in (run / f"{name}.jsonl").read_text().splitlines()]
    by_key = {}
    for row in rows:
        trajectory = row.get("trajectory", row)
        trajectory.get("usage", {}).pop("seconds", None)
        for execution in trajectory.get("executions", ()):
            for measured in ("wall_seconds", "cpu_seconds", "peak_rss_mb"):
                execution.pop(measured, None)
        by_key[trajectory.get("problem_id", row.get("id")), trajectory.get("sample"), trajectory.get("round")] = row
    assert len(by_key) == len(rows)
    return by_key


def survives(tmp_path: Path, kills: int, count: int) -> None:
    problems, draw = tmp_path / "problems.jsonl", random.Random(kills)
    problems.write_text(
        "".join(json.dumps({"id": f"p{i}", "question": f"Plan {i}?", "answer": 400}) + "\n" for i in range(count))
    )
    with CompletionServer(by_hand, seconds=0.01, keep=False) as server:
        assert not killed_or_done(start(tmp_path / "run", problems, server), server, 1, 0.0)
        for _ in range(kills - 1):
            process = start(tmp_path / "run", problems, server)
            assert not killed_or_done(process, server, draw.randint(1, 6), draw.uniform(0, 0.03))
        for run in ("run", "whole"):
            assert killed_or_done(start(tmp_path / run, problems, server), server, 10**9, 0.0)
    for name in FILES:
        assert content(tmp_path / "run", name) == content(tmp_path / "whole", name), name
    assert len(content(tmp_path / "whole", "trajectories")) == 2 * count
    assert not (tmp_path / "run" / "failures.jsonl").exists()


@pytest.mark.engines
@pytest.mark.timeout(1800)
def test_fifty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    survives(tmp_path, kills=50, count=150)


def test_twenty_kills_at_any_moment_of_a_scripted_curation_lose_and_double_nothing(tmp_path: Path) -> None:
    for run, kills in (("run", 20), ("whole", 0)):
        driver = [sys.executable, "-m", "tests.stages.curate_and_die", str(tmp_path / run), str(kills)]
        done = subprocess.run(driver, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True)
        interrupted, status = map(int, done.stdout.split())
        assert status == 0, done.stderr
        assert interrupted > kills // 2 or not kills
    for name in FILES:
        assert content(tmp_path / "run", name) == content(tmp_path / "whole", name), name
