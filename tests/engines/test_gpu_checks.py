"""benchmarks/gpu_checks.py in small: that it works before there is a GPU to try it on."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.engines.vllm_server import VARIABLES

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800)]

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_checks.py"


def checks(*options: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=1700)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done.returncode, {line["check"]: line for line in lines}, done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so() -> None:
    status, found, complaints = checks()
    assert (status, found) == (2, {})
    assert complaints.strip().splitlines() == ["no GPU here: run this where there is one, or --tiny"]


def test_every_check_but_nccl_runs_in_small_on_a_cpu(
    vllm_interpreter: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    server = shlex.join([str(vllm_interpreter), "-m", "vllm.entrypoints.openai.api_server"])
    status, found, _ = checks("--tiny", "--vllm", server, "--json", str(tmp_path / "found.json"))
    assert {name: check["status"] for name, check in found.items()} == {
        **dict.fromkeys(("versions", "sft", "sft-all", "engine", "server", "reload"), "ok"),
        "nccl": "skipped",
    }, found
    assert status == 0
    assert found["engine"]["tokens_per_second"] > 0
    assert found["server"]["tokens"] == found["engine"]["tokens"] == 64
    assert found["sft"]["planned_gib"] >= 0
    assert max(found["reload"]["logprob_difference"]) < 0.05
    assert json.loads((tmp_path / "found.json").read_text()) == list(found.values())
