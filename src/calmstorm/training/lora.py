"""LoRA: small matrices beside the linear layers are trained in place of the weights, and merged into them at the end.

The model stays the same object, so that rollouts are drawn from what is trained, and what is saved is a plain model.
"""

from __future__ import annotations

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from calmstorm.settings import TrainingSettings

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a Qwen3 block; embeddings and head stay as they are."""


def add_adapters(model: PreTrainedModel, settings: TrainingSettings, seed: int) -> None:
    """Adds float32 adapters to a model, in place; from now on only they have gradients. They begin without effect."""
    config = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=list(LAYERS))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = "lora_" in name
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def merge_adapters(model: PreTrainedModel) -> None:
    """Adds what adapters have learned to the weights and takes the adapters out; a model without any stays as it is."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, LoraLayer):
                layer.merge()
                setattr(parent, name, layer.get_base_layer())
    model.requires_grad_(True)
