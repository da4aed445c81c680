"""What the wheel has to hold besides Python; `.ci/wheel` builds one and compares."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "calmstorm"


def test_every_data_file_of_the_package_is_packed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packed = {path for pattern in settings["package-data"]["calmstorm"] for path in PACKAGE.glob(pattern)}
    present = {
        path
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    }
    assert present == {path for path in packed if path.is_file()}
    assert len(present) > 10
