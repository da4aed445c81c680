"""From what a user writes after `--reasoner` to a Reasoner: `pocket`, a model by directory or hub id, or servers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from calmstorm.errors import InfrastructureError, InputError, MissingExtraError
from calmstorm.progress import note
from calmstorm.reasoner.codec import TokenizerCodec, is_hub_id, load_tokenizer
from calmstorm.reasoner.prompting import prompt_of_model
from calmstorm.reasoner.protocol import Reasoner
from calmstorm.settings import LocalSettings, Recipe, ServerSettings

if TYPE_CHECKING:
    from calmstorm.endpoint import Endpoint

POCKET = "pocket"


class OpenedReasoner(NamedTuple):
    """A Reasoner ready to be asked; whoever opened it closes it."""

    reasoner: Reasoner
    context_tokens: int | None
    """Prompt and response together at most; None where the Reasoner's server does not say."""
    prompt: str | None = None
    """Name and version of the prompt that it is asked with ("paper-1")."""
    model: str | None = None
    """Where it is a server: the name that the model has there."""

    def named_in(self, recipe: Recipe) -> Recipe:
        """Returns a recipe that names model and prompt as they were found, so that a later command asks the same."""
        return recipe.model_copy(update={"model": self.model or recipe.model, "prompt": self.prompt or recipe.prompt})


def open_for(recipe: Recipe) -> OpenedReasoner:
    """Opens the Reasoner that a recipe names, as it names it; see `open_reasoner`.

    Starts no servers: `stages.open_weights` does. Where the recipe has a command for some, that is said.
    """
    if recipe.server.command and not is_server(recipe.reasoner):
        note(
            f"server.command is left to calm run: {recipe.reasoner} is loaded into this process; name servers that run "
            "with --reasoner URL"
        )
    return open_reasoner(
        recipe.reasoner,
        recipe.model,
        tokenizer=recipe.tokenizer,
        prompt=recipe.prompt,
        server=recipe.server,
        local=recipe.local,
    )


def open_reasoner(
    name: str,
    model: str | None = None,
    *,
    tokenizer: str | None = None,
    prompt: str | None = None,
    server: ServerSettings | None = None,
    local: LocalSettings | None = None,
) -> OpenedReasoner:
    """Opens a Reasoner.

    Args:
        name: `pocket`, a model directory, a hub id, or base URLs of servers: separated by commas, or in a file, one a
            line.
        model: Where it is a server, the model's name there; None asks the server, which must have exactly one.
        tokenizer: Where it is a server, directory or hub id of the model's tokenizer; None means that of `model`.
        prompt: Name of a prompt; None means what a model directory asks for, else the default.
        server: How servers are asked.
        local: How a model is loaded into this process.

    Raises:
        InputError: The name is none of these, or model, tokenizer or prompt are not there.
        InfrastructureError: The model is not named, and no server can be asked for it.
        MissingExtraError: A local model or a tokenizer needs packages that are not installed.
    """
    urls = server_urls(name)
    if urls:
        return _open_servers(urls, model, tokenizer, prompt, server or ServerSettings())
    for option, value in (("--model", model), ("--tokenizer", tokenizer)):
        if value is not None:
            raise InputError(
                f"{option} is {value!r}, but --reasoner is {name!r}, no server; drop {option} or give a server's URL"
            )
    return open_local(pocket_directory() if name == POCKET else _source(name), prompt=prompt, local=local)


def server_urls(name: str) -> tuple[str, ...]:
    """Returns the base URLs that a Reasoner's name stands for: separated by commas, or in a file; () where none.

    Raises:
        InputError: A file holds something else, or nothing, or one URL stands there twice.
    """
    if "://" in name:
        urls = tuple(url.strip() for url in name.split(",") if url.strip())
    elif name != POCKET and Path(name).is_file():
        urls = _urls_of(Path(name))
    else:
        return ()
    for url in urls:
        if urls.count(url) > 1:
            raise InputError(f"--reasoner names {url.rpartition('@')[2]} twice; each server counts once: name it once")
    return urls


def _urls_of(path: Path) -> tuple[str, ...]:
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--reasoner is the file {path}, which cannot be read ({error}): name another") from None
    urls = tuple(line for line in lines if line)
    odd = next((url for url in urls if not url.startswith(("http://", "https://"))), None if urls else "nothing")
    if odd is not None:
        raise InputError(f"{path} holds {odd[:80]!r}; a file of servers has a base URL on each line: correct it")
    return urls


def is_server(name: str) -> bool:
    """Whether a Reasoner's name stands for servers."""
    return bool(server_urls(name))


def served_model(recipe: Recipe) -> str:
    """Returns the name of the model on a recipe's servers: the recipe's, else the only one they have.

    Raises:
        InputError: A server has several.
        InfrastructureError: No server can be reached, or none says.
    """
    from calmstorm.reasoner.server import endpoint_at

    return _served_model([endpoint_at(url, recipe.server) for url in server_urls(recipe.reasoner)], recipe.model)[0]


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


def _source(name: str) -> Path | str:
    path = Path(name).expanduser()
    if not path.exists():
        if is_hub_id(name):
            return name
        raise InputError(
            f"--reasoner is {name!r}; it must be 'pocket', a model directory, a hub id such as Qwen/Qwen3-4B, or the "
            "base URL of a server; correct it"
        )
    if not (path / "config.json").is_file():
        raise InputError(
            f"{name}: holds no config.json, so it is no model directory; name a Hugging Face model directory"
        )
    return path


def open_local(source: Path | str, *, prompt: str | None = None, local: LocalSettings | None = None) -> OpenedReasoner:
    """Loads a model directory or hub id into this process.

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
    reasoner = LocalReasoner(source, prompt=prompt, local=local)
    return OpenedReasoner(reasoner, reasoner.context_tokens, reasoner.prompt)


def _open_servers(
    urls: Sequence[str], model: str | None, tokenizer: str | None, prompt: str | None, settings: ServerSettings
) -> OpenedReasoner:
    from calmstorm.reasoner.server import ServerReasoner, endpoint_at

    name, context_tokens = _served_model([endpoint_at(url, settings) for url in urls], model)
    loaded = _tokenizer(tokenizer, name, text_only=settings.text_only)
    reasoner = ServerReasoner(
        urls,
        name,
        tokenizer=loaded,
        prompt=prompt or prompt_of_model(Path(tokenizer or name).expanduser()),
        settings=settings,
        context_tokens=context_tokens,
    )
    return OpenedReasoner(reasoner, context_tokens, reasoner.prompt, name)


def _served_model(endpoints: Sequence[Endpoint], model: str | None) -> tuple[str, int | None]:
    """Returns the model's name and the longest context of the first server that says; the name may be given.

    Raises:
        InputError: The name is not given and servers have several models.
        InfrastructureError: No server can be reached; or the name is not given, and none says.
    """
    from calmstorm.endpoint import AttemptError

    failures: list[AttemptError] = []
    for endpoint in endpoints:
        try:
            served = {item.id: item for item in endpoint.served()}
        except AttemptError as error:
            failures.append(error)
            continue
        if model is None and len(served) != 1:
            names = ", ".join(sorted(served)[:20]) or "none"
            raise InputError(f"{endpoint.url} serves {len(served)} models ({names}); name one with --model")
        name = model or next(iter(served))
        return name, served[name].max_model_len if name in served else None
    if not any(failure.reached for failure in failures):
        raise InfrastructureError(f"{failures[0]}: start the server, or correct --reasoner")
    if model is None:
        raise InfrastructureError(f"{failures[0]}: name the model with --model")
    return model, None


def _tokenizer(given: str | None, model: str, *, text_only: bool) -> TokenizerCodec | None:
    """Loads the tokenizer of a server's model; None in text mode where there is none.

    Raises:
        InputError: It cannot be loaded, and ids are to go in and out or it was named.
    """
    source = str(Path(given or model).expanduser())
    try:
        if given is None and not Path(source).is_dir() and not is_hub_id(model):
            raise InputError(f"{model!r} is neither a directory nor a hub id")
        return TokenizerCodec(load_tokenizer(source))
    except (InputError, MissingExtraError) as error:
        if text_only and given is None:
            note(f"no tokenizer of {model} ({error}): prompts are framed in ChatML")
            return None
        raise InputError(
            f"the tokenizer of {model} cannot be loaded ({error}); token ids go in and out: name a directory or "
            "hub id with --tokenizer, or talk in text with --text"
        ) from None
