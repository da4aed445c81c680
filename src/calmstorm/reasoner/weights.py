"""From what names a model to the directory with its weights: a directory as given, a hub id by way of the hub's cache.

A hub id is resolved once, to a snapshot on disk, which everything else reads. Without a connection, or with
HF_HUB_OFFLINE, the snapshot is the one that was fetched last. Every request has a bound (HF_HUB_ETAG_TIMEOUT and
HF_HUB_DOWNLOAD_TIMEOUT, 10 s unless set): `snapshot_download` would wait for a silent hub for ever, hence file by file.
"""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from calmstorm.errors import InputError, MissingExtraError
from calmstorm.reasoner.codec import check_source

HUB_FILES = ("*.json", "*.jinja", "*.txt", "*.safetensors")
"""What a model of the hub needs here: settings, tokenizer, chat template, weights."""


def model_directory(model: str | Path) -> Path:
    """Returns the directory of a model of the kind that runs in this process; a hub id is fetched where it has to be.

    Raises:
        InputError: There is no such model, it cannot be fetched, or it is no Qwen3 model.
        MissingExtraError: A hub id needs `huggingface_hub`, which is not installed.
    """
    source = check_source(model)
    directory = Path(source) if Path(source).is_dir() else _fetched(source)
    kind = _config(directory, str(model)).get("model_type")
    if kind != "qwen3":
        raise InputError(
            f"{model} is a model of type {kind!r}; in this process only 'qwen3' runs: serve it with a server such as "
            "vLLM and give the server's URL"
        )
    return directory


def _fetched(name: str) -> Path:
    try:
        from httpx import TransportError
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    try:
        return _download(name)
    except GatedRepoError:
        reason, remedy = "access to it is restricted", f"ask for it at https://huggingface.co/{name} and set HF_TOKEN"
        raise _unobtainable(name, reason, remedy) from None
    except RepositoryNotFoundError:
        remedy = "correct the name, or set HF_TOKEN where the model is private"
        raise _unobtainable(name, "the hub shows no such model", remedy) from None
    except HfHubHTTPError as error:
        reason, remedy = f"the hub answers {error.response.status_code}", "try again later"
    except ValueError as error:
        raise _unobtainable(name, _first_line(error), "correct the name") from None
    except (OSError, TransportError) as error:  # no connection, told to do without, or something on this machine
        if isinstance(error, OSError) and error.errno is not None:
            raise _unobtainable(name, str(error), "free or correct what it names") from None
        reason, remedy = "the Hugging Face hub cannot be reached", "check name and connection, or name a directory"
    try:
        return Path(snapshot_download(name, local_files_only=True))
    except OSError:
        raise _unobtainable(name, f"it is not in the cache, and {reason}", remedy) from None


def _download(name: str) -> Path:
    """Fetches what is not in the cache yet; returns the directory of the model in there."""
    import huggingface_hub

    info = huggingface_hub.HfApi().model_info(name, timeout=huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT)
    files = [file.rfilename for file in info.siblings or () if "/" not in file.rfilename]
    wanted = [file for file in files if any(fnmatch(file, pattern) for pattern in HUB_FILES)]
    if "config.json" not in wanted:
        raise ValueError("it has no config.json")
    paths = [Path(huggingface_hub.hf_hub_download(name, file)) for file in wanted]
    return paths[0].parent


def _unobtainable(name: str, reason: str, remedy: str) -> InputError:
    return InputError(f"{name} is no directory here, and it cannot be had from the hub ({reason}): {remedy}")


def _config(directory: Path, name: str) -> dict[str, Any]:
    path = directory / "config.json"
    if not path.is_file():
        raise InputError(f"{name}: holds no config.json, so it is no model; name a Hugging Face model")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}): correct it, or name another model") from error
    return config if isinstance(config, dict) else {}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
