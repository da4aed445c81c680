"""Which Reasoner a stage asks: servers that run already, servers started for the stage, or a model in this process."""

from __future__ import annotations

from pathlib import Path

from calmstorm.reasoner.opening import OpenedReasoner, is_server, open_for, open_reasoner
from calmstorm.settings import Recipe


def open_base(recipe: Recipe, base: str | Path, log: Path) -> OpenedReasoner:
    """Opens the Reasoner that a recipe adapts.

    Args:
        recipe: Its servers, where `reasoner` names some, are asked.
        base: Directory or hub id of its weights, which are served or opened where there are no servers.
        log: What a server that is started here prints.

    Raises:
        InputError: There is no such model, or it cannot be served.
        InfrastructureError: A server does not start.
    """
    if is_server(recipe.reasoner):
        return open_for(recipe)
    return open_weights(recipe, base, log)


def open_weights(recipe: Recipe, model: str | Path, log: Path) -> OpenedReasoner:
    """Opens a model by its weights: behind servers that are started for it where the recipe has a command, else here.

    Args:
        recipe: Prompt, servers, limits.
        model: Directory or hub id.
        log: What a server that is started here prints.

    Raises:
        InputError: There is no such model, or it cannot be served.
        InfrastructureError: A server does not start.
    """
    if not recipe.server.command:
        return open_reasoner(str(model), None, prompt=recipe.prompt, local=recipe.local)
    from calmstorm.reasoner.managed import open_served

    log.parent.mkdir(parents=True, exist_ok=True)
    return open_served(model, recipe.server, log=log, tokenizer=None, prompt=recipe.prompt)
