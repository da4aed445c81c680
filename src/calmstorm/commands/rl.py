"""`calm rl`: reinforces a model on a file of problems with verifiable rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands.recipes import Override, Seed, base_directory, recipe_from


def register(app: typer.Typer) -> None:
    """Adds `rl`."""
    app.command("rl")(rl)


def rl(
    problems: Annotated[Path, typer.Option("--problems", help="File of problems with labels.")],
    run: Annotated[Path, typer.Option("--run", help="Run directory; the model goes to RUN/models/rl.")],
    start: Annotated[
        Path | None, typer.Option("--from", help="Model directory; RUN/models/sft where it exists.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Recipe: a name or a TOML file.")] = "pocket",
    objective: Annotated[str | None, typer.Option("--objective", help="grpo, dr_grpo, dapo or carft.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="trl or verl.")] = None,
    question: Annotated[str | None, typer.Option("--question", help="Column with the problem text.")] = None,
    answer: Annotated[str | None, typer.Option("--answer", help="Column with the label.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Take the first N problems.")] = None,
    override: Override = None,
    seed: Seed = None,
) -> None:
    """Reinforce a model with GRPO: binary reward, execution output masked. Run it again to resume."""
    from calmstorm.grading import is_gradable
    from calmstorm.interpreter import Interpreter
    from calmstorm.problems.files import load_problems
    from calmstorm.progress import say
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import reinforce

    named = [f"rl.{key}={value}" for key, value in (("objective", objective), ("engine", engine)) if value is not None]
    settings = recipe_from(recipe, [*(override or []), *named], seed)
    loaded = [p for p in load_problems(problems, question=question, answer=answer, limit=limit) if is_gradable(p)]
    tuned = run / "models" / "sft"
    base = start or (tuned if tuned.exists() else base_directory(settings))
    target = run / "models" / "rl"
    with RunDirectory(run) as directory, Interpreter(settings.rollout.workers, settings.rollout.tier) as interpreter:
        steps = reinforce(directory, base, loaded, target, settings, interpreter)
    say(f"{steps} steps from {base}")
    typer.echo(target)
