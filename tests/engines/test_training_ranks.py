"""Fine-tuning in two processes, and with sharded weights, gives what one process gives, also after `kill -9`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calmstorm.training.checkpoints import completed_updates
from tests.training.tiny_model import write_tiny_model

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]
ROOT = Path(__file__).parents[2]
SECONDS = 600
LORA = {"lora_rank": 2, "validation": 0.3}
PACKED = {"packing": True, "sequence_tokens": 300}

needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("ranks") / "model")


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, object]], tuple[Path, str]]:
    """Trains in one process; gives the model and what was printed."""
    known: dict[str, tuple[Path, str]] = {}

    def trained(settings: dict[str, object]) -> tuple[Path, str]:
        key = json.dumps(settings)
        if key not in known:
            output = tmp_path_factory.mktemp("whole") / "model"
            done = train(model, output, settings)
            assert done.returncode == 0, done.stderr
            known[key] = output, done.stdout
        return known[key]

    return trained


def train(
    model: Path, output: Path, settings: dict[str, object], processes: int = 1, last: int = 0
) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    words = ["-m", "tests.engines.train_ranks", str(model), str(output), json.dumps(settings)]
    return subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *words, *([str(last)] if last else [])],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def assert_same_weights(one: Path, other: Path, tolerance: float) -> None:
    left, right = (load_file(path / "model.safetensors") for path in (one, other))
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, atol=tolerance, rtol=0)


@pytest.mark.parametrize("settings", [{}, LORA, PACKED], ids=["whole", "lora", "packed"])
@pytest.mark.parametrize(
    ("sharding", "processes"),
    [
        ("none", 2),
        ("fsdp2", 2),
        pytest.param("zero3", 1, marks=needs_deepspeed),
        pytest.param("zero3", 2, marks=needs_deepspeed),
    ],
)
def test_shares_of_the_batch_and_of_the_weights_change_nothing(
    sharding: str,
    processes: int,
    settings: dict[str, object],
    model: Path,
    whole: Callable[[dict[str, object]], tuple[Path, str]],
    tmp_path: Path,
) -> None:
    plain, printed = whole(settings)
    shared = train(model, tmp_path / "shared", {**settings, "sharding": sharding}, processes)
    assert shared.returncode == 0, shared.stderr
    assert shared.stdout == printed
    assert ("best None" in printed) == ("validation" not in settings)
    assert_same_weights(plain, tmp_path / "shared", 1e-5)
    base = load_file(model / "model.safetensors")
    trained = load_file(tmp_path / "shared" / "model.safetensors")
    assert max(float((trained[name] - base[name]).abs().max()) for name in base) > 1e-3
    assert {path.name for path in plain.iterdir()} == {path.name for path in (tmp_path / "shared").iterdir()}


@pytest.mark.parametrize(
    ("sharding", "processes"), [("none", 2), ("fsdp2", 2), pytest.param("zero3", 1, marks=needs_deepspeed)]
)
def test_a_killed_training_goes_on_as_if_nothing_had_happened(
    sharding: str, processes: int, model: Path, tmp_path: Path
) -> None:
    settings = {"sharding": sharding, "validation": 0.3}
    whole = train(model, tmp_path / "whole", settings, processes)
    assert whole.returncode == 0, whole.stderr
    killed = train(model, tmp_path / "killed", settings, processes, last=3)
    assert killed.returncode != 0
    assert not (tmp_path / "killed").exists()
    assert completed_updates(tmp_path / "killed") == 2
    resumed = train(model, tmp_path / "killed", settings, processes)
    assert resumed.returncode == 0, resumed.stderr
    after = [line for line in whole.stdout.splitlines() if line.split()[:2] not in (["step", "1"], ["step", "2"])]
    assert resumed.stdout.splitlines() == after
    assert (tmp_path / "killed" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
