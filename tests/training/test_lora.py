"""Adapters: what they change, that they are merged when a training ends, and that it can be resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from calmstorm.settings import RlSettings, RolloutSettings, SftSettings
from calmstorm.training.checkpoints import completed_updates
from calmstorm.training.grpo import RlStep, train_grpo
from calmstorm.training.lora import LAYERS, merge_adapters
from calmstorm.training.policy import load_policy
from calmstorm.training.sft import SftStep, train_sft
from tests.training.tiny_model import EchoInterpreter, coin_problems, golden

SFT = SftSettings(learning_rate=1e-2, batch=4, micro_batch=4, epochs=3, checkpoint_steps=3, lora_rank=4, lora_alpha=8)
RL = RlSettings(
    steps=2,
    prompts_per_step=3,
    samples=4,
    mini_batch=3,
    micro_batch=4,
    learning_rate=1e-2,
    response_tokens=100,
    lora_rank=4,
)
LESSONS = [golden(n, answer=n) for n in range(10)]


def changed_weights(before: Path, after: Path) -> set[str]:
    """Returns the last names of the weights that differ; both models must have the same weights."""
    one, other = load_file(before / "model.safetensors"), load_file(after / "model.safetensors")
    assert one.keys() == other.keys()
    return {name.split(".")[-2] for name in one if not torch.equal(one[name], other[name])}


def test_fine_tuned_adapters_are_merged_into_the_linear_layers_of_a_plain_model(
    random_model: Path, tmp_path: Path
) -> None:
    steps: list[SftStep] = []
    train_sft(random_model, LESSONS, tmp_path / "out", SFT, on_log=steps.append)
    assert steps[-1].loss < 0.98 * steps[0].loss
    assert changed_weights(random_model, tmp_path / "out") == set(LAYERS)


def test_reinforced_adapters_are_merged_into_the_linear_layers_of_a_plain_model(
    coin_model: Path, tmp_path: Path
) -> None:
    steps: list[RlStep] = []
    out = tmp_path / "out"
    train_grpo(
        coin_model, coin_problems(), out, RL, EchoInterpreter(), rollouts=RolloutSettings(), on_step=steps.append
    )
    assert any(step.grad_norm > 0 for step in steps)
    assert changed_weights(coin_model, out) <= set(LAYERS)
    assert changed_weights(coin_model, out)


def test_a_merged_model_computes_what_the_adapted_one_did(random_model: Path) -> None:
    policy = load_policy(random_model, settings=SFT)
    torch.manual_seed(0)
    trained = [parameter for parameter in policy.model.parameters() if parameter.requires_grad]
    for parameter in trained:
        torch.nn.init.normal_(parameter, std=0.1)
    inputs = torch.arange(3, 40)[None]
    with torch.no_grad():
        plain = load_policy(random_model).model(input_ids=inputs).logits
        adapted = policy.model(input_ids=inputs).logits
        merge_adapters(policy.model)
        merged = policy.model(input_ids=inputs).logits
    assert len(trained) == 2 * 2 * len(LAYERS)  # two matrices for each layer of two blocks
    assert (adapted - plain).abs().max() > 0.01
    assert torch.allclose(adapted, merged, atol=1e-5)
    assert not any("lora" in name for name, _ in policy.model.named_parameters())


def test_an_interrupted_training_of_adapters_ends_as_if_it_had_not_been(random_model: Path, tmp_path: Path) -> None:
    class Killed(BaseException): ...

    def die(step: SftStep) -> None:
        if step.step == 5:
            raise Killed

    with pytest.raises(Killed):
        train_sft(random_model, LESSONS, tmp_path / "killed", SFT, on_log=die)
    assert completed_updates(tmp_path / "killed") == 3
    for name in ("killed", "whole"):
        train_sft(random_model, LESSONS, tmp_path / name, SFT)
    killed, whole = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("killed", "whole"))
    assert killed == whole
