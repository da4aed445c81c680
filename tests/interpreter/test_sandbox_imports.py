"""What runs inside the sandbox also runs where neither calmstorm nor its dependencies are installed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import calmstorm.interpreter

INTERPRETER = Path(calmstorm.interpreter.__file__).parent
MAY_IMPORT = {"sandbox": {"sandbox", "capture"}, "capture": {"capture"}}
"""Folders whose modules those of a folder may import, relatively."""
MODULES = [path for folder in MAY_IMPORT for path in sorted((INTERPRETER / folder).glob("**/*.py"))]


def imported(path: Path) -> Iterator[str]:
    """Yields what a module imports, wherever in its text: absolute names, and folders of relative imports."""
    folder = path.parent.name
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 1:
            yield f".{folder}"
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ("." * (node.level - 1) + name.partition(".")[0] for name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_module_of_the_sandbox_imports_only_the_standard_library(path: Path) -> None:
    allowed = sys.stdlib_module_names | {f".{folder}" for folder in MAY_IMPORT[path.parent.name]}
    assert set(imported(path)) <= allowed


def test_both_folders_are_looked_at() -> None:
    assert {path.parent.name for path in MODULES} == set(MAY_IMPORT)
    assert len(MODULES) > 20
