"""Writes docs/commands.md from the commands' own help, so that it cannot rot; `--check` only compares."""

import subprocess
import sys
from pathlib import Path

import typer

TARGET = Path(__file__).with_name("commands.md")


def help_of(*words: str) -> str:
    """Returns the help of a command, at a fixed width."""
    calm = Path(sys.executable).with_name("calm")
    done = subprocess.run(  # noqa: S603 - our own program
        [str(calm), *words, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "100", "TERM": "dumb", "PATH": "/usr/bin:/bin"},
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def page() -> str:
    """Returns the whole page."""
    from calmstorm.cli import build

    group = typer.main.get_command(build())
    parts = ["# Commands", "", "Written by `make docs` from the help of each command.", "", "```text", help_of(), "```"]
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        nested = command.list_commands(None) if hasattr(command, "list_commands") else []
        for words in [(name,), *((name, inner) for inner in nested)]:
            parts += ["", f"## calm {' '.join(words)}", "", "```text", help_of(*words), "```"]
    return "\n".join(parts) + "\n"


def main() -> None:
    """Writes the page, or says that it is out of date."""
    text = page()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        sys.exit("docs/commands.md is out of date: run make docs")


if __name__ == "__main__":
    main()
