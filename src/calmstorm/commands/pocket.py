"""`calm pocket train`: rebuilds the embedded Reasoner from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from calmstorm.pocket.pretrain import Progress

app = typer.Typer(no_args_is_help=True, help="The embedded pocket Reasoner.")


@app.command()
def train(
    output: Annotated[Path, typer.Argument(help="Directory for tokenizer, checkpoints, log and the model.")],
    tokens: Annotated[float, typer.Option(help="Tokens to learn from, millions.", min=0.001)] = 20.0,
    seed: Annotated[int, typer.Option(help="Seed of weights and corpus.")] = 0,
) -> None:
    """Train the pocket Reasoner from scratch, or go on where an interrupted training was."""
    from calmstorm.errors import InputError
    from calmstorm.pocket.pretrain import train as pretrain
    from calmstorm.progress import note as say

    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is a file; name a directory")
    output.mkdir(parents=True, exist_ok=True)
    with (output / "log.jsonl").open("a", encoding="utf-8") as log:

        def note(progress: Progress) -> None:
            log.write(progress.to_json() + "\n")
            log.flush()
            left = max(0.0, tokens * 1e6 - progress.tokens) / max(1.0, progress.tokens_per_second) / 60
            say(
                f"{progress.tokens / 1e6:.2f} of {tokens:g} M tokens, loss {progress.response_loss:.3f}, "
                f"digits {progress.digit_accuracy:.1%}, about {left:.0f} min left"
            )

        pretrain(output, tokens=int(tokens * 1e6), seed=seed, on_progress=note)
    typer.echo(output / "model")
