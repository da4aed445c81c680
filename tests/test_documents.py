"""The documents name only what exists: commands, their options, files."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def calls() -> list[tuple[str, str, tuple[str, ...]]]:
    """Returns (document, command, options) of every `calm` call that a document shows in a code block."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.splitlines():
                match = re.search(r"(?:^|\s|/)calm\s+([a-z]+)(.*)", line.partition("#")[0])
                if match:
                    found.append((document.name, match.group(1), tuple(re.findall(r"--[a-z][a-z-]*", match.group(2)))))
    return found


@cache
def help_of(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "calmstorm.cli", command, "--help"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    subcommands = re.findall(r"^  ([a-z]+)\s{2,}", done.stdout.partition("Commands:")[2], re.MULTILINE)
    nested = [
        subprocess.run(
            [sys.executable, "-m", "calmstorm.cli", command, name, "--help"],
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout
        for name in subcommands
    ]
    return done.stdout + "".join(nested)


@pytest.mark.parametrize(("document", "command", "options"), calls())
def test_a_command_in_a_document_exists_with_its_options(document: str, command: str, options: tuple[str, ...]) -> None:
    text = help_of(command)
    assert [option for option in options if option not in text] == [], document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_readme_opens_with_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text(encoding="utf-8").split("##")[0]
    assert opening.index("make demo") < opening.index("make test")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^demo:", makefile, re.MULTILINE)
    assert re.search(r"^test:", makefile, re.MULTILINE)
