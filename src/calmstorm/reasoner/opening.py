"""From what a user writes after `--reasoner` to a Reasoner: `pocket`, a model directory, or a server's base URL."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calmstorm.errors import InputError, MissingExtraError
from calmstorm.reasoner.protocol import Reasoner
from calmstorm.settings import LocalSettings

if TYPE_CHECKING:
    from calmstorm.reasoner.server import ServerReasoner

POCKET = "pocket"


class OpenedReasoner(NamedTuple):
    """A Reasoner ready to be asked; whoever opened it closes it."""

    reasoner: Reasoner
    context_tokens: int | None
    """Prompt and response together at most; None where the Reasoner's server decides."""
    prompt: str | None = None
    """Name and version of the prompt that it is asked with ("paper-1")."""


def open_reasoner(name: str, model: str | None = None) -> OpenedReasoner:
    """Opens what `--reasoner` and `--model` name.

    Raises:
        InputError: the name is none of the three kinds, or the model cannot be loaded.
        MissingExtraError: a local model needs packages that are not installed.
    """
    if is_server(name):
        server = _server(name, model)
        return OpenedReasoner(server, None, server.prompt)
    if model is not None:
        raise InputError(
            f"--model is {model!r}, but --reasoner is {name!r}, no server; drop --model or give a server's URL"
        )
    return open_local(pocket_directory() if name == POCKET else _directory(name))


def is_server(name: str) -> bool:
    """Whether a Reasoner's name is the base URL of a server."""
    return name.startswith(("http://", "https://"))


def pocket_directory() -> Path:
    """Returns the directory of the embedded model.

    Raises:
        InputError: this installation has none.
    """
    path = Path(str(resources.files("calmstorm") / "pocket" / "model"))
    if not (path / "model.safetensors").is_file():
        raise InputError(
            "the pocket model is not in this installation; install the released package, or see: calm pocket --help"
        )
    return path


def _directory(name: str) -> Path:
    path = Path(name)
    if not path.exists():
        raise InputError(
            f"--reasoner is {name!r}; it must be 'pocket', a model directory or the base URL of a server; correct it"
        )
    if not (path / "config.json").is_file():
        raise InputError(
            f"{name}: holds no config.json, so it is no model directory; name a Hugging Face model directory"
        )
    return path


def open_local(model: str | Path, local: LocalSettings | None = None, prompt: str | None = None) -> OpenedReasoner:
    """Loads a model into this process.

    Args:
        model: A directory or hub id.
        local: Device, type of the weights, memory; by default a recipe's defaults.
        prompt: Name of a prompt; by default what the model asks for.

    Raises:
        InputError: The model cannot be loaded.
        MissingExtraError: Packages that it needs are not installed.
    """
    try:
        from transformers.utils import logging

        from calmstorm.reasoner.local import LocalReasoner
    except ImportError as error:
        raise MissingExtraError(error.name or "torch", "pocket") from None
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    reasoner = LocalReasoner(model, prompt=prompt, local=local)
    return OpenedReasoner(reasoner, reasoner.context_tokens, reasoner.prompt)


def _server(url: str, model: str | None) -> ServerReasoner:
    if model is None:
        raise InputError(f"--reasoner is the server {url}, which may have several models; name one with --model")
    from calmstorm.reasoner.server import ServerReasoner

    return ServerReasoner(url, model=model)
