"""Two real servers, one killed in the middle of a curation: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from calmstorm.reasoner.opening import pocket_directory
from calmstorm.records import Trajectory
from tests.engines.calm_command import calm, last_lines, require_whole_curation, rows, start_calm
from tests.engines.vllm_server import VllmServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]

PROBLEMS = 40


@pytest.fixture
def doomed(vllm_interpreter: Path, tmp_path: Path) -> Iterator[VllmServer]:
    """A second server, for a test to kill."""
    with VllmServer(vllm_interpreter, pocket_directory(), tmp_path / "doomed.log") as server:
        yield server


def test_a_curation_goes_on_when_one_of_two_servers_is_killed(
    vllm: VllmServer, doomed: VllmServer, tmp_path: Path
) -> None:
    run, problems, log = tmp_path / "run", tmp_path / "problems.jsonl", tmp_path / "calm.log"
    calm("problems", "generate", "--count", PROBLEMS, "--side", "adapt", "--out", problems, log=log)
    both = ("--reasoner", f"{vllm.url},{doomed.url}", "--model", vllm.name, "--tokenizer", pocket_directory())
    answered = vllm.metrics()["vllm:request_success"]
    process = start_calm("curate", "--problems", problems, "--run", run, "--recipe", "pocket", *both, log=log)
    shares, deadline = (0.0, 0.0), time.monotonic() + 300
    while (len(rows(run, "trajectories")) < PROBLEMS // 4 or not all(shares)) and process.poll() is None:
        assert time.monotonic() < deadline, "the curation does not get going"
        time.sleep(0.1)
        shares = (vllm.metrics()["vllm:request_success"] - answered, doomed.metrics()["vllm:request_success"])
    in_flight = doomed.metrics()["vllm:num_requests_running"]
    doomed.kill()
    process.communicate(timeout=600)
    assert process.returncode == 0, last_lines(log)
    assert in_flight > 0
    print(f"{shares[0]:.0f} and {shares[1]:.0f} requests were answered when {in_flight:.0f} more died with a server")
    require_whole_curation(run, [row["id"] for row in rows(tmp_path, "problems")])
    trajectories = [Trajectory.model_validate(row) for row in rows(run, "trajectories")]
    assert all(span.token_ids is not None for trajectory in trajectories for span in trajectory.spans)
