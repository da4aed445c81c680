"""The weights of a trainer as a plain Hugging Face model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import Qwen3ForCausalLM

from calmstorm.reasoner.local import LocalReasoner
from calmstorm.settings import RlSettings
from calmstorm.training.lora import merge_adapters
from calmstorm.training.policy import load_policy
from calmstorm.training.trl.weights import TrainerWeights


def weights_of(policy: LocalReasoner) -> TrainerWeights:
    accelerator = SimpleNamespace(unwrap_model=lambda model: model)
    trainer: Any = SimpleNamespace(accelerator=accelerator, model=policy.model)
    return TrainerWeights(trainer, policy.codec.tokenizer)


def test_all_weights_have_the_names_of_a_directory(random_model: Path) -> None:
    policy = load_policy(random_model)
    expected = load_file(random_model / "model.safetensors")
    given = dict(weights_of(policy).tensors())
    assert given.keys() == expected.keys()
    assert all(torch.equal(given[name], expected[name]) for name in given)


def test_adapters_are_added_to_what_they_belong_to_and_stay_apart_in_the_model(
    random_model: Path, tmp_path: Path
) -> None:
    policy = load_policy(random_model, settings=RlSettings(lora_rank=4, lora_alpha=8))
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    weights_of(policy).save(tmp_path / "saved")
    given = {name: value.clone() for name, value in weights_of(policy).tensors()}
    assert all(torch.equal(value, before[name]) for name, value in policy.model.state_dict().items())
    merge_adapters(policy.model)
    merged = dict(policy.model.named_parameters())
    assert given.keys() == merged.keys()
    for name, value in load_file(tmp_path / "saved" / "model.safetensors").items():
        torch.testing.assert_close(value, merged[name].data, msg=name)
        torch.testing.assert_close(value, given[name], msg=name)
    tokens = torch.arange(3, 40).unsqueeze(0)
    saved = Qwen3ForCausalLM.from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(saved(tokens).logits, policy.model(tokens).logits)


def test_of_tied_weights_the_embeddings_are_given(random_model: Path) -> None:
    policy = load_policy(random_model)
    policy.model.config.tie_word_embeddings = True
    policy.model.lm_head.weight = policy.model.model.embed_tokens.weight
    names = [name for name, _ in weights_of(policy).tensors()]
    assert "lm_head.weight" not in names
    assert "model.embed_tokens.weight" in names
