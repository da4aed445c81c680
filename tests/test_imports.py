"""What can be imported where torch and the other extras are not installed."""

from __future__ import annotations

import json
import subprocess
import sys

EXTRAS = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "trl",
    "datasets",
    "accelerate",
    "peft",
    "pyarrow",
    "ray",
    "verl",
    "tensordict",
    "transfer_queue",
    "hydra",
    "omegaconf",
)
NEED_THEM = (
    "calmstorm.cluster.",
    "calmstorm.pocket.",
    "calmstorm.reasoner.engine",
    "calmstorm.reasoner.local",
    "calmstorm.training",
)

IMPORT_ALL = """
import importlib, json, pkgutil, sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # None: the import fails as if it were not installed
import calmstorm
failed = {}
def import_all(folders, prefix):
    for module in pkgutil.iter_modules(folders, prefix):
        try:
            package = importlib.import_module(module.name)
        except Exception as error:
            failed[module.name] = str(error)
        else:
            if module.ispkg:
                import_all(package.__path__, module.name + ".")
import_all(calmstorm.__path__, "calmstorm.")
print(json.dumps(failed))
"""


def test_every_module_but_the_engine_and_training_is_imported_when_no_extra_is_installed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *EXTRAS], capture_output=True, text=True, check=True, timeout=120
    )
    failed = json.loads(done.stdout)
    assert {name: reason for name, reason in failed.items() if not name.startswith(NEED_THEM)} == {}
    assert "calmstorm.training" in failed  # the libraries were really out of reach
