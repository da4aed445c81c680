"""What verl loads in every process of everybody who has calmstorm installed."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points

PLUGIN = "calmstorm.training.verl.plugin"


def load(**variables: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys, {PLUGIN}; print(sorted({{'torch', 'ray', 'verl', 'transformers'}} & set(sys.modules)))"
    environment = {name: value for name, value in os.environ.items() if name != "CALM_VERL"} | variables
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_verl_finds_the_plugin() -> None:
    assert [point.value for point in entry_points(group="verl.plugins")] == [PLUGIN]


def test_the_plugin_does_nothing_where_nobody_asks_for_it() -> None:
    loaded = load()
    assert (loaded.returncode, loaded.stdout.strip(), loaded.stderr) == (0, "[]", "")


def test_a_plugin_that_fails_says_so_instead_of_leaving_it_to_verl() -> None:
    loaded = load(CALM_VERL="tpu")
    assert loaded.returncode != 0
    assert "calmstorm's plugin of verl failed to load" in loaded.stderr
    assert "CALM_VERL is 'tpu'; it must be 'cpu' or 'cuda'" in loaded.stderr
