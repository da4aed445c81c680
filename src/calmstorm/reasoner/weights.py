"""From what names a model to the directory with its weights: a directory as given, a hub id by way of the hub's cache.

A hub id is resolved once, to a snapshot on disk: tokenizer, settings and weights are then of one revision, and the hub
is asked once and not for every file. Time-outs are those of `huggingface_hub` (HF_HUB_ETAG_TIMEOUT,
HF_HUB_DOWNLOAD_TIMEOUT: 10 s each), and HF_HUB_OFFLINE keeps to what is in the cache.
"""

from __future__ import annotations

import json
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
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except GatedRepoError:
        reason, remedy = "access to it is restricted", f"ask for it at https://huggingface.co/{name} and set HF_TOKEN"
    except RepositoryNotFoundError:
        reason, remedy = "the hub shows no such model", "correct the name, or set HF_TOKEN where the model is private"
    except HfHubHTTPError as error:
        reason, remedy = f"the hub answers {error.response.status_code}", "try again later"
    except ValueError as error:
        reason, remedy = _first_line(error), "correct the name"
    except OSError:  # also what stands for any failed connection, where the cache does not help out
        reason = "it is not in the cache, and the Hugging Face hub cannot be reached"
        remedy = "check the name and the connection, or name a directory"
    raise InputError(f"{name} is no directory here, and it cannot be had from the hub ({reason}): {remedy}")


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
