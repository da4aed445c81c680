"""What the commands that follow a recipe have in common: its flags, and the models it names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands.reasoners import open_reasoner, pocket_directory
from calmstorm.errors import InputError
from calmstorm.settings import Recipe, load_recipe

if TYPE_CHECKING:
    from calmstorm.reasoner.protocol import Reasoner

Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, for example rl.steps=5; may be repeated."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything that is drawn.")]


def recipe_from(source: str | None, override: list[str] | None, seed: int | None = None) -> Recipe:
    """Reads a recipe with what the flags change.

    Raises:
        InputError: a flag is not of the form KEY=VALUE, or a setting is wrong.
    """
    changes: dict[str, str] = {}
    for item in override or []:
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise InputError(f"--set {item}: it must read KEY=VALUE, for example --set rl.steps=5")
        changes[key.strip()] = value.strip()
    if seed is not None:
        changes["seed"] = str(seed)
    return load_recipe(source, changes)


def base_directory(recipe: Recipe) -> Path:
    """Returns the directory of the model that a recipe adapts.

    Raises:
        InputError: the recipe names a server, which cannot be trained.
    """
    if recipe.reasoner == "pocket":
        return pocket_directory()
    if recipe.reasoner.startswith(("http://", "https://")):
        raise InputError(f"reasoner is {recipe.reasoner}; a server cannot be trained: name a model directory or hub id")
    return Path(recipe.reasoner)


def load_local(directory: Path) -> Reasoner:
    """Loads a model directory into this process."""
    return open_reasoner(str(directory)).reasoner
