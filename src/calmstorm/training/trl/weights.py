"""The weights of a trainer, whole: gathered from where they are sharded, adapters added."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from calmstorm.training.ranks import barrier, is_first


class TrainerWeights:
    """A model in training as a plain Hugging Face model; see `generator.TrainedWeights`.

    Weights are gathered one at a time, adapters together with what they are added to.
    """

    def __init__(self, trainer: Any, tokenizer: PreTrainedTokenizerBase) -> None:  # noqa: ANN401
        """Takes the trainer, and the tokenizer that is written beside its model."""
        self._model: PreTrainedModel = trainer.accelerator.unwrap_model(trainer.model)
        self._tokenizer = tokenizer

    @torch.no_grad()
    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields name and value of each weight, to be used before the next; of tied ones the input embeddings only."""
        model = self._model
        tied = {*(model._tied_weights_keys or ())} if model.config.tie_word_embeddings else set()
        adapted = {path: module for path, module in model.named_modules() if isinstance(module, LoraLayer)}
        for name, parameter in model.named_parameters():
            path, _, leaf = name.rpartition(".")
            if name in tied or ".lora_" in name:
                continue
            layer = adapted.get(path.removesuffix(".base_layer"))
            plain = name.replace(".base_layer.", ".").replace("_checkpoint_wrapped_module.", "")
            if layer is None or leaf != "weight":
                with whole([parameter]) as (value,):
                    yield plain, value
                continue
            ((adapter, low),) = layer.lora_A.items()
            factors = [low.get_parameter("weight"), layer.lora_B[adapter].get_parameter("weight")]
            with whole([parameter, *factors]) as (value, down, up):
                yield plain, value + (layer.scaling[adapter] * (up @ down)).to(value.dtype)

    def save(self, directory: Path) -> None:
        """Writes a Hugging Face directory; when it returns, in any process, the directory is complete."""
        kept: dict[str, torch.Tensor] = {}
        for name, value in self.tensors():
            if is_first():
                kept[name] = value.cpu().clone()
        if is_first():
            self._model.save_pretrained(directory, state_dict=kept)
            self._tokenizer.save_pretrained(directory)
        barrier()


@contextmanager
def whole(parameters: Sequence[torch.nn.Parameter]) -> Iterator[list[torch.Tensor]]:
    """Gives the values of parameters; of those that are sharded by FSDP2 or ZeRO-3 the whole, in every process."""
    if any(hasattr(parameter, "ds_id") for parameter in parameters):
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(parameters)):
            yield [parameter.data for parameter in parameters]
    else:
        yield [
            parameter.data.full_tensor() if isinstance(parameter.data, DTensor) else parameter.data
            for parameter in parameters
        ]
