"""Training the pocket Reasoner from scratch: resumable, and exported as what vLLM and transformers both read."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from calmstorm.pocket import corpus, pretrain
from calmstorm.pocket.pretrain import BATCH_TOKENS, Progress, batches, train

PACKAGED = Path(__file__).parents[2] / "src" / "calmstorm" / "pocket" / "model"
needs_tokenizer = pytest.mark.skipif(
    not (PACKAGED / "tokenizer.json").exists(), reason="the pocket model is not in this checkout"
)


def with_tokenizer(output: Path) -> Path:
    target = output / "tokenizer"
    target.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(PACKAGED / name, target / name)
    return output


@needs_tokenizer
@pytest.mark.engines
def test_a_stopped_training_goes_on_and_exports_an_untied_model(tmp_path: Path) -> None:
    output = with_tokenizer(tmp_path / "pocket")
    train(output, tokens=20_000, seed=3)
    first = torch.load(output / "checkpoint.pt", weights_only=True)["state"]
    train(output, tokens=2 * first["tokens"], seed=3)
    second = torch.load(output / "checkpoint.pt", weights_only=True)["state"]
    assert second["chunk"] > first["chunk"]
    assert second["step"] > first["step"]
    model = Qwen3ForCausalLM.from_pretrained(output / "model")
    assert model.config.tie_word_embeddings is False
    assert model.config.head_dim in (32, 64)
    assert json.loads((output / "model" / "calmstorm.json").read_text())["prompt"] == "pocket-1"
    size = (output / "model" / "model.safetensors").stat().st_size
    assert size <= 8 * 2**20


@needs_tokenizer
def test_untying_for_export_changes_no_logit(tmp_path: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(PACKAGED)
    tied = pretrain.new_model(tokenizer, seed=1)
    pretrain.export(tied, tokenizer, tmp_path / "out", {"seed": 1})
    untied = Qwen3ForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ids = torch.tensor([[5, 60, 700, 8]])
    with torch.no_grad():
        for parameter in tied.parameters():  # not the rotary buffers, which are never saved
            parameter.copy_(parameter.to(torch.bfloat16).to(torch.float32))
        assert torch.allclose(tied(ids).logits, untied(ids).logits, atol=1e-5)


@needs_tokenizer
def test_batches_hold_every_document_once_and_pad_with_weight_zero() -> None:
    documents = corpus.chunk_documents(str(PACKAGED), 5, 0, (2,))[:40]
    rows = []
    for ids, weights in batches(documents, random.Random(1)):
        assert ids.shape == weights.shape
        assert ids.numel() <= BATCH_TOKENS
        for row, row_weights in zip(ids.tolist(), weights.tolist(), strict=True):
            length = max(place for place, token in enumerate(row) if token) + 1  # a document ends with a nonzero id
            assert not any(row_weights[length:])
            rows.append((row[:length], row_weights[:length]))
    assert sorted(rows) == sorted((document.token_ids.tolist(), document.weights.tolist()) for document in documents)


def test_a_progress_line_is_json() -> None:
    line = Progress(step=1, tokens=2, chunk=3, response_loss=0.5, digit_accuracy=0.25, tokens_per_second=10.0).to_json()
    assert json.loads(line)["digit_accuracy"] == 0.25
