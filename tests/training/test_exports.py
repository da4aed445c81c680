from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

from calmstorm.pocket.architecture import pocket_config
from calmstorm.training.exports import HEAD, export, is_tied, untie, with_head
from tests.training.tiny_model import tiny_tokenizer

IDS = torch.tensor([[5, 6, 7]])


def tied_model() -> Qwen3ForCausalLM:
    torch.manual_seed(0)
    config = pocket_config(
        tiny_tokenizer(),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    return Qwen3ForCausalLM(config)


@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_an_untied_model_computes_the_same_and_shares_nothing(tmp_path: Path, shard: str) -> None:
    model = tied_model()
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert is_tied(tmp_path)
    untie(tmp_path)
    untied = Qwen3ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert not is_tied(tmp_path)
    assert untied.lm_head.weight.data_ptr() != untied.model.embed_tokens.weight.data_ptr()
    with torch.no_grad():
        assert torch.equal(untied(IDS).logits, model(IDS).logits)
    named = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    assert {*named.values()} == {file.name for file in tmp_path.glob("*.safetensors")}  # servers read what is named


def test_a_model_that_shares_nothing_stays_as_it_is(random_model: Path) -> None:
    before = {file.name: file.read_bytes() for file in random_model.iterdir()}
    untie(random_model)
    assert {file.name: file.read_bytes() for file in random_model.iterdir()} == before


def test_an_export_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    class Weights:
        def tensors(self):
            return iter(())

        def save(self, directory: Path) -> None:
            tied_model().save_pretrained(directory)

    class Failing(Weights):
        def save(self, directory: Path) -> None:
            directory.mkdir()
            (directory / "config.json").write_text("{")
            raise OSError("disk full")

    export(Weights(), tmp_path / "a")
    before = sorted(file.name for file in (tmp_path / "a").iterdir())
    with pytest.raises(OSError, match="disk full"):
        export(Failing(), tmp_path / "a")
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == before
    export(Weights(), tmp_path / "a")
    assert [place.name for place in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("tied", [True, False])
def test_streamed_weights_have_the_head_once(tied: bool) -> None:
    model = tied_model()
    named = dict(model.named_parameters()) | ({} if tied else {HEAD: model.lm_head.weight})
    sent = dict(with_head(iter(named.items()), tied))
    assert torch.equal(sent[HEAD], model.lm_head.weight)
    assert {*sent} == {*named, HEAD}
