from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.benchmark_runs import write_evaluations
from tests.report.hostile_run import write_hostile_run
from tests.report.synthetic_run import write_run


@pytest.fixture(scope="session")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete synthetic run; tests must not change it."""
    return write_run(tmp_path_factory.mktemp("runs") / "demo")


@pytest.fixture(scope="session")
def hostile_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hostile_run(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="session")
def evaluation_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs of three models on five benchmarks; tests must not change them."""
    return write_evaluations(tmp_path_factory.mktemp("evaluations"))


@pytest.fixture(scope="session")
def controlled_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic run with the arms of the experiments; tests must not change it."""
    stages = ("base", "sft", "rl", "pilot", "control_sft", "control_rl")
    return write_run(tmp_path_factory.mktemp("controlled") / "arms", curation=10, tests=8, samples=2, stages=stages)
