"""Reinforcement with rollouts from a real vLLM server on a CPU: it follows the training, and may die in between."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from calmstorm.cli import main
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.training.trl import session
from tests.engines.calm_command import calm, last_lines, rows, settings, start_calm
from tests.engines.vllm_server import VARIABLES, VllmServer, command

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1500)]

NEAR = 1e-3
"""How far log-probabilities of server and trainer may lie apart in float32, nats."""
SMALL = {
    "rl.generator": "server",
    "rl.sync": "reload",
    "rl.prompts_per_step": 4,
    "rl.mini_batch": 4,
    "rl.micro_batch": 4,
    "rl.samples": 4,
    "rl.prompt_tokens": 1000,
    "rl.response_tokens": 500,
    "rl.learning_rate": 1e-3,
    "server.sampled_logprobs": "true",
}


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    calm("problems", "generate", "--count", 12, "--side", "adapt", "--out", tmp_path / "p.jsonl", log=tmp_path / "log")
    return tmp_path / "p.jsonl"


def post(url: str, body: object = None) -> None:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310  of this machine
    urllib.request.urlopen(request, timeout=60).close()  # noqa: S310


@pytest.fixture
def borrowed(vllm: VllmServer) -> Iterator[VllmServer]:
    """The server that all suites share; it gets its weights back."""
    yield vllm
    post(
        f"{vllm.url}/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(pocket_directory())}}
    )
    post(f"{vllm.url}/reset_prefix_cache")


def test_server_and_trainer_agree_after_each_of_three_weight_syncs(
    borrowed: VllmServer, problems: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "bf16_pays", lambda: False)  # rounding to bfloat16 moves them by more than that
    run = tmp_path / "run"
    given = settings({**SMALL, "rl.steps": 4, "rl.servers": borrowed.url})
    with pytest.raises(SystemExit) as ended:
        main(["rl", str(run), "--recipe", "pocket", "--problems", str(problems), *given])
    assert ended.value.code == 0
    steps = rows(run, "rl")
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    assert all(step["grad_norm"] > 0 for step in steps[:3])
    assert [step["logprob_difference_max"] < NEAR for step in steps] == [True] * 4, steps
    assert borrowed.metrics()["vllm:request_success"] >= 64


def test_a_server_that_is_killed_in_the_middle_of_a_step_loses_nothing(
    vllm_interpreter: Path, problems: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "calm.log"
    words = json.dumps(command(vllm_interpreter, "{model}", "{port}"))
    given = settings({**SMALL, "rl.steps": 3, "server.command": words})
    process = start_calm("rl", run, "--recipe", "pocket", "--problems", problems, *given, log=log, variables=VARIABLES)
    printed = run / "models" / "rl.work" / "served" / "server.log"
    wait_for(lambda: bool(rows(run, "rl")))
    answered = completions(printed)
    wait_for(lambda: completions(printed) >= answered + 3)
    (server,) = children(process.pid, "api_server")
    os.kill(server, signal.SIGKILL)
    process.communicate(timeout=900)
    said = log.read_text()
    assert process.returncode == 0, last_lines(log)
    assert "ended with status -9" in said
    assert [step["step"] for step in rows(run, "rl")] == [1, 2, 3]
    made = Counter((row["step"], row["problem_id"], row["sample"]) for row in rows(run, "rl_rollouts"))
    assert len(made) == 3 * 4 * 4
    assert {*made.values()} == {1}
    assert all(row["reward"] is not None for row in rows(run, "rl_rollouts"))
    assert max(step["logprob_difference"] for step in rows(run, "rl")) < 0.05  # bfloat16 in the trainer
    assert children_of_a_server(run) == []


def completions(log: Path) -> int:
    return log.read_text(errors="replace").count("POST /v1/completions") if log.exists() else 0


def wait_for(condition: object, seconds: float = 900.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not get going"
        time.sleep(0.02)


def children(pid: int, word: str) -> list[int]:
    """Returns the processes that a process has started and whose command line has a word in it."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            line = (place / "cmdline").read_text()
        except OSError:
            continue
        if parent == pid and word in line:
            found.append(int(place.name))
    return found


def children_of_a_server(run: Path) -> list[str]:
    """Returns the command lines that name a run: servers of it that still live."""
    lines = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(place.read_text())
        except OSError:
            continue
    return [line for line in lines if str(run) in line and "api_server" in line]
