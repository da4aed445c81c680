"""`calm solve`: one word problem in, answer, model, code and checks out; plainly so when it could not be solved."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.records import Formulation
    from calmstorm.solving import Solution

LONGEST = 20_000
"""Characters of a problem text at most."""


def register(app: typer.Typer) -> None:
    """Adds `solve`."""
    app.command("solve")(solve)


def solve(
    text: Annotated[str, typer.Argument(help="The problem, a file that holds it, or - for standard input.")],
    reasoner: options.ReasonerName = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    prompt: options.Prompt = None,
    text_mode: options.Text = None,
    attempts: Annotated[
        int, typer.Option("--attempts", min=1, max=64, help="Rollouts; the best backed answer wins.")
    ] = 4,
    response_tokens: Annotated[
        int | None, typer.Option("--response-tokens", min=16, help="Limit of a response.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the solved model as an LP file.")] = None,
    show_all: Annotated[bool, typer.Option("--show-reasoning", help="Print the whole response as well.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the sampling.")] = 1,
    as_json: options.AsJson = False,
) -> None:
    """Solve a word problem and check the model behind the answer. Ends with status 1 when no answer could be backed."""
    from calmstorm.reasoner.opening import POCKET, open_for
    from calmstorm.solving import attempt, choose

    question = read_problem(text)
    flags = options.reasoner_flags(model, tokenizer, prompt, text_mode)
    recipe = options.recipe_for(reasoner, None, options.changes(None, flags))
    opened = open_for(recipe)
    is_pocket = recipe.reasoner == POCKET
    limit = response_tokens or (min(1024, (opened.context_tokens or 16384) // 2) if is_pocket else 16384)
    tried = asyncio.run(attempt(question, opened.reasoner, attempts=attempts, response_tokens=limit, seed=seed))
    solution = choose(question, tried)
    if save is not None:
        save_lp(save, solution.formulation)
    if as_json:
        emit(solution.as_data())
    else:
        print_solution(solution, is_pocket, show_all)
    if not solution.backed:
        raise typer.Exit(1)


def read_problem(text: str) -> str:
    """Returns the problem text that an argument gives, names or pipes in.

    Raises:
        InputError: It is empty, too long or not readable.
    """
    if text == "-":
        question = sys.stdin.read(LONGEST + 1)
    else:
        path = Path(text) if len(text) < 256 and "\n" not in text else None
        try:
            question = path.read_text(encoding="utf-8") if path is not None and path.is_file() else text
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{text}: cannot be read as UTF-8 text ({error}); give a text file") from None
    if not question.strip():
        raise InputError("the problem is empty; give its text, a file, or - for standard input")
    if len(question) > LONGEST:
        raise InputError(f"the problem has {len(question)} characters; at most {LONGEST} are read: shorten it")
    return question.strip()


def save_lp(path: Path, formulation: Formulation | None) -> None:
    """Writes a captured model as an LP file."""
    from calmstorm.interpreter import lp_text

    if formulation is None:
        raise InputError(f"{path}: nothing to save, since no script handed a model to a solver; leave --save out")
    path.write_text(lp_text(formulation), encoding="utf-8")


def print_solution(solution: Solution, is_pocket: bool, show_all: bool) -> None:
    """Prints a solution for a person; model-written text is printed as text, never interpreted."""
    from rich.console import Console

    from calmstorm.algebra import formulation_lines
    from calmstorm.printable import printable

    console = Console(highlight=False, markup=False, soft_wrap=True)
    if solution.backed:
        console.print(f"Answer: {solution.answer}", style="bold")
    elif solution.answer is not None:
        console.print(
            f"Could not be solved with confidence. An answer was given, {solution.answer}, but no solve backs it.",
            style="bold",
        )
    else:
        console.print("Could not be solved: no answer was reached.", style="bold")
    if solution.formulation is not None:
        console.print("\nModel that was solved")
        for line in formulation_lines(solution.formulation):
            console.print("  " + printable(line))
    if solution.code:
        console.print("\nCode")
        for line in printable(solution.code).rstrip().splitlines():
            console.print("  " + line)
    console.print("\nChecks")
    for name, passed, remark in solution.checks:
        console.print(f"  {'yes' if passed else 'NO ':<4} {name}{': ' + remark if remark else ''}")
    if show_all and solution.trajectory is not None:
        console.print("\nReasoning")
        console.print(printable(solution.trajectory.response))
    if is_pocket:
        console.print(
            "\nThe pocket Reasoner is a tiny demonstration model; check its model against your problem.", style="dim"
        )
