"""The documents name only what exists: commands, their options, files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from calmstorm.cli import build
from calmstorm.commands import options
from calmstorm.settings import load_recipe

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def calls() -> list[tuple[str, tuple[str, ...]]]:
    """Returns (document, words) of every `calm` call that a document shows in a code block."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                program = next((place for place, word in enumerate(words) if word.rpartition("/")[2] == "calm"), None)
                if program is not None:
                    end = next((place for place, word in enumerate(words) if word in (">", "|", "&&")), None)
                    found.append((document.name, tuple(words[program + 1 : end])))
    return found


def parsed(words: tuple[str, ...]) -> dict[str, Any]:
    """Parses a call down to its last subcommand, as the command line would, and runs nothing."""
    command: Any = typer.main.get_command(build())
    context, rest = None, list(words)
    while hasattr(command, "commands") or hasattr(command, "list_commands"):
        context = command.make_context("calm", rest, parent=context)
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None, name
    parameters: dict[str, Any] = command.make_context("calm", rest, parent=context).params
    return parameters


@pytest.mark.parametrize(
    ("document", "words"), calls(), ids=lambda value: value if isinstance(value, str) else value[0]
)
def test_a_command_in_a_document_is_one_with_settings_that_exist(document: str, words: tuple[str, ...]) -> None:
    parameters = parsed(words)
    for item in parameters.get("override") or ():
        load_recipe(None, options.changes([item]) | WITH.get(item.partition("=")[0], {}))
    recipe = parameters.get("recipe")
    if recipe is not None and not recipe.isupper():
        assert load_recipe(recipe).name == recipe


WITH = {"rl.prompts_per_step": {"rl.mini_batch": "1"}, "rl.mini_batch": {"rl.prompts_per_step": "64"}}
"""What else must be set for a setting to be possible."""


@pytest.mark.parametrize(
    "words", [("sft", "RUN", "--no-such-option"), ("no-such-command",), ("problems", "no-such"), ("plan", "a", "b")]
)
def test_a_call_that_is_none_is_noticed(words: tuple[str, ...]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|unexpected"):
        parsed(words)


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
