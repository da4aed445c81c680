"""docs/python.md runs as it is written, and the typed use of the public API does too."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import calmstorm

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "python.md"


def test_the_examples_of_the_page_run_in_order(tmp_path: Path) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)\n```\n", PAGE.read_text(encoding="utf-8"), re.DOTALL))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "golden=1" in done.stdout


def test_the_curation_of_the_page_takes_fifteen_lines() -> None:
    blocks = re.findall(r"```python\n(.*?)\n```\n", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    curation = next(block for block in blocks if "filter_golden(run" in block)
    assert len([line for line in curation.splitlines() if line.strip()]) <= 15


def test_what_is_typed_in_the_api_file_runs(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("api", ROOT / "tests" / "typing" / "api.py")
    assert spec is not None
    assert spec.loader is not None
    api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(api)
    trajectory, golden, summary = api.main(tmp_path / "run")
    assert (trajectory.answer, golden, summary.ungraded) == (1.0, [], 1)


@pytest.mark.parametrize("name", calmstorm.__all__)
def test_a_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    assert getattr(calmstorm, name).__doc__


def test_importing_the_package_loads_neither_torch_nor_anything_heavy() -> None:
    code = "import calmstorm, sys; print(sorted({'torch', 'pydantic', 'numpy', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        _ = calmstorm.no_such_name  # type: ignore[attr-defined]
