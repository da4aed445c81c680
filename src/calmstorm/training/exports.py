"""Weights in training as model directories that servers read: whole, and with an output matrix of their own.

vLLM computes wrong logits, silently, once it has reloaded a model whose output shares the matrix of its input.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig

from calmstorm.atomic import write_atomically
from calmstorm.training.generator import TrainedWeights
from calmstorm.training.ranks import is_first

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PARTIAL = ".partial"


def export(weights: TrainedWeights, directory: Path) -> None:
    """Writes the weights to a directory, in place of what is there; every process takes part.

    Whoever looks finds the old directory, none, or the new one as a whole.
    """
    draft = directory.with_name(directory.name + _PARTIAL)
    if is_first():
        shutil.rmtree(draft, ignore_errors=True)
        draft.parent.mkdir(parents=True, exist_ok=True)
    weights.save(draft)
    if is_first():
        untie(draft)
        shutil.rmtree(directory, ignore_errors=True)
        draft.rename(directory)


def is_tied(directory: Path) -> bool:
    """Whether the output of a model directory shares the matrix of its input."""
    return bool(AutoConfig.from_pretrained(directory).tie_word_embeddings)


def untie(directory: Path) -> None:
    """Gives a saved model an output matrix of its own, where it shares that of its input; in place."""
    if not is_tied(directory):
        return
    index = directory / _INDEX
    if index.exists():
        table = json.loads(index.read_text(encoding="utf-8"))
    else:
        body = directory / "model-body.safetensors"
        (directory / _SINGLE).rename(body)  # a file of this name is taken for the whole model
        with safe_open(body, framework="pt") as tensors:
            table = {"metadata": {}, "weight_map": dict.fromkeys(tensors.keys(), body.name)}
    if HEAD not in table["weight_map"]:
        with safe_open(directory / table["weight_map"][EMBEDDING], framework="pt") as tensors:
            save_file({HEAD: tensors.get_tensor(EMBEDDING)}, directory / "model-head.safetensors", {"format": "pt"})
        table["weight_map"][HEAD] = "model-head.safetensors"
    write_atomically(index, json.dumps(table))
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    write_atomically(directory / "config.json", json.dumps({**config, "tie_word_embeddings": False}, indent=2))


def with_head(tensors: Iterator[tuple[str, torch.Tensor]], tied: bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the weights of a model as one with an output matrix of its own has them."""
    for name, tensor in tensors:
        if tied and name == HEAD:
            continue
        yield name, tensor
        if tied and name == EMBEDDING:
            yield HEAD, tensor
