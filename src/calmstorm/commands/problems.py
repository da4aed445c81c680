"""`calm problems`: see what a file of problems holds, and prove that its answers can be graded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands.console import emit, say, table
from calmstorm.errors import InputError

_File = Annotated[Path, typer.Argument(help="JSON Lines, JSON, CSV or parquet.", show_default=False)]
_Question = Annotated[str | None, typer.Option(help="Column of the problem text.")]
_Answer = Annotated[str | None, typer.Option(help="Column of the answer.")]
_Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many rows.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def register(app: typer.Typer) -> None:
    """Adds `problems` with its subcommands."""
    group = typer.Typer(help="List, show and check problems.", rich_markup_mode=None)
    group.command("list")(list_problems)
    group.command("show")(show)
    group.command("check")(check)
    app.add_typer(group, name="problems")


def list_problems(
    file: _File, question: _Question = None, answer: _Answer = None, limit: _Limit = 20, as_json: _Json = False
) -> None:
    """List problems: id, label and the beginning of the text."""
    from calmstorm.problems.files import load_problems

    rows = [
        {
            "id": each.id,
            "suite": each.suite,
            "label": each.label,
            "status": each.status.value,
            "question": each.question,
        }
        for each in load_problems(file, question, answer, limit)
    ]
    if as_json:
        emit({"problems": rows})
        return
    table(
        ["id", "label", "problem"],
        [[str(row["id"]), str(row["label"]), _beginning(str(row["question"]))] for row in rows],
    )


def show(
    file: _File,
    id: Annotated[str, typer.Argument(help="Id of the problem, or its row number.", show_default=False)],
    question: _Question = None,
    answer: _Answer = None,
    as_json: _Json = False,
) -> None:
    """Show one problem whole."""
    from calmstorm.problems.files import load_problems

    found = next((each for each in load_problems(file, question, answer) if each.id == id), None)
    if found is None:
        raise InputError(f"{file}: has no problem {id!r}; see the ids with: calm problems list {file}")
    if as_json:
        emit(found)
        return
    say(f"{found.id}  ({found.suite})\n\n{found.question}\n\nlabel: {found.label}  ({found.status.value})")


def check(
    file: _File, question: _Question = None, answer: _Answer = None, limit: _Limit = None, as_json: _Json = False
) -> None:
    """Check that each published answer scores 1 and a corrupted one 0; exit status 1 when one does not."""
    from calmstorm.grading import check_problems
    from calmstorm.problems.files import load_problems

    result = check_problems(load_problems(file, question, answer, limit))
    if as_json:
        emit(result)
    else:
        counts = [[status.value, str(count)] for status, count in result.statuses.items() if count]
        table([file.name, "rows"], [*counts, ["all", str(result.rows)], ["answers checked", str(result.checked)]])
        for problem in result.problems:
            say(problem)
    if result.problems:
        raise typer.Exit(1)


def _beginning(text: str, characters: int = 90) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= characters else flat[: characters - 3] + "..."
