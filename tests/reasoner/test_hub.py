"""Models by hub id: from a hub cache as the hub's library lays it out, and without a hub to ask."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import huggingface_hub
import pytest
from huggingface_hub.utils._http import hf_raise_for_status

from calmstorm.errors import InputError
from calmstorm.reasoner.opening import open_local
from calmstorm.reasoner.protocol import Sampling
from calmstorm.reasoner.weights import model_directory

NAME = "some-lab/tiny-qwen3"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub that must not be asked."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def keep(cache: Path, model, tokenizer) -> Path:
    """Puts a model where the hub's library keeps what it has fetched."""
    repository = cache / f"models--{NAME.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    model.save_pretrained(snapshot)
    tokenizer.save_pretrained(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    return snapshot


def test_a_cached_model_opens_by_its_hub_id(model, tokenizer, hub_cache: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot = keep(hub_cache, model, tokenizer)
    (snapshot / "calmstorm.json").write_text(json.dumps({"prompt": "pocket-1"}))
    monkeypatch.chdir(hub_cache)
    opened = open_local(NAME)
    assert (opened.reasoner.name, opened.context_tokens, opened.prompt) == (NAME, 2048, "pocket-1")

    async def go():
        made = await opened.reasoner.generate(
            opened.reasoner.render("How many?"), stop=(), max_tokens=5, sampling=Sampling(temperature=0)
        )
        await opened.reasoner.close()
        return made

    assert len(asyncio.run(go()).token_ids) == 5


def test_a_model_that_is_not_cached_is_refused_in_one_line_when_the_hub_may_not_be_asked(hub_cache: Path):
    with pytest.raises(
        InputError, match=r"^some-lab/tiny-qwen3 is no directory here, .* cannot be reached\)"
    ) as raised:
        open_local(NAME)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["some-lab/bad..name", "-x/model", "a/b c"])
def test_what_is_no_hub_id_is_refused_in_one_line(hub_cache: Path, name: str):
    with pytest.raises(InputError, match=r"correct the name") as raised:
        open_local(name)
    assert "\n" not in str(raised.value)


def asked(status: int, monkeypatch: pytest.MonkeyPatch, header: dict[str, str]) -> str:
    """Returns the message for a hub that answers so."""

    def answer(*args: object, **kwargs: object) -> None:
        request = httpx.Request("GET", f"https://huggingface.co/api/models/{NAME}/revision/main")
        hf_raise_for_status(httpx.Response(status, request=request, headers=header))

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", answer)
    with pytest.raises(InputError) as raised:
        model_directory(NAME)
    return str(raised.value)


@pytest.mark.parametrize(
    ("status", "header", "said"),
    [
        (404, {"X-Error-Code": "RepoNotFound"}, "the hub shows no such model): correct the name, or set HF_TOKEN"),
        (403, {"X-Error-Code": "GatedRepo"}, "ask for it at https://huggingface.co/some-lab/tiny-qwen3"),
        (503, {}, "it is not in the cache, and the hub answers 503): try again later"),
    ],
)
def test_what_the_hub_answers_is_said_in_one_line(hub_cache: Path, status, header, said, monkeypatch):
    message = asked(status, monkeypatch, header)
    assert said in message
    assert "\n" not in message


def test_a_hub_that_never_answers_is_given_up(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = os.environ | {
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_CACHE": str(tmp_path),
            "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "HF_HUB_ETAG_TIMEOUT": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
        }
        code = f"from calmstorm.reasoner.weights import model_directory\nmodel_directory({NAME!r})"
        ended = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=30, check=False
        )
    assert "the Hugging Face hub cannot be reached" in ended.stderr.splitlines()[-1]


def test_a_model_is_fetched_file_by_file_without_what_is_not_needed(hub_cache: Path, model, tokenizer, monkeypatch):
    snapshot = keep(hub_cache, model, tokenizer)
    files = [*(path.name for path in snapshot.iterdir()), "README.md", "onnx/config.json", "model.gguf"]
    siblings = [huggingface_hub.hf_api.RepoSibling(rfilename=file) for file in files]
    asked_for = []

    def fetch(name: str, file: str) -> str:
        asked_for.append(file)
        return str(snapshot / file)

    found = huggingface_hub.ModelInfo(id=NAME, siblings=[])
    found.siblings = siblings
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, timeout: found)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    assert model_directory(NAME) == snapshot
    assert set(asked_for) == {path.name for path in snapshot.iterdir()}


@pytest.mark.parametrize("kind", ["llama", "mistral", "a-kind-nobody-knows"])
def test_a_model_of_another_kind_is_for_a_server(tmp_path: Path, kind: str):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(InputError, match=f"of type '{kind}'; in this process only 'qwen3' runs: serve it"):
        open_local(tmp_path)


def test_a_directory_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"holds no config\.json"):
        open_local(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is no JSON"):
        open_local(tmp_path)
