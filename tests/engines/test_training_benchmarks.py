"""What `calm plan` counts against real steps, and the ways to make rollouts beside each other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")
pytestmark = pytest.mark.engines

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NEEDED_GIB = 9


def available_gib() -> float:
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(meminfo["MemAvailable"].split()[0]) / 2**20


def benchmark(tmp_path: Path, name: str, *options: str) -> tuple[int, Any]:
    out = tmp_path / "numbers.json"
    command = [sys.executable, str(BENCHMARKS / name), *options, "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.exists(), done.stderr
    return done.returncode, json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", ["sft-128-16384", "sft-384-6144", "rl-128-16384", "rl-384-6144"])
def test_the_peak_of_a_step_is_what_the_plan_counts(case: str, tmp_path: Path) -> None:
    if available_gib() < NEEDED_GIB:
        pytest.skip(f"{NEEDED_GIB} GiB of memory are not free")
    status, (row,) = benchmark(tmp_path, "training_memory.py", "--only", case)
    assert status == 0
    assert row["planned_gib"] == pytest.approx(row["measured_gib"], rel=0.15)


@pytest.mark.timeout(3600)
def test_every_way_to_make_rollouts_is_measured(tmp_path: Path) -> None:
    status, result = benchmark(tmp_path, "training.py", "--rounds", "1", "--problems", "2", "--samples", "4")
    assert status == 0
    for arm, row in result["medians"].items():
        parts = sum(row[part] for part in ("generate", "execute", "score", "update"))
        assert parts == pytest.approx(row["seconds"]), arm
        assert row["tokens"] > 0, arm
    assert all(ratio["seconds"] > 1 for ratio in result["ratios"].values())
