from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == {missing!r} else find_spec(name, package)
from calmstorm.errors import MissingExtraError
try:
    import calmstorm.training.trl
except MissingExtraError as error:
    print(error)
"""


@pytest.mark.parametrize("missing", ["torch", "trl"])
def test_training_names_the_extra_when_it_is_not_installed(missing: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT.format(missing=missing)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == (
        f"{missing} is not installed; this needs the 'train' extra: pip install 'calmstorm[train]'"
    )


def test_encoding_needs_no_torch() -> None:
    code = "import calmstorm.training.encode, sys; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
