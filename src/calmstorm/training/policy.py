"""The model in training: weights, tokenizer, and the Reasoner that speaks with the very same weights."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from calmstorm.errors import InputError
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.prompting import prompt_of_model
from calmstorm.reasoner.protocol import Prefix
from calmstorm.training.trl_seam import silence


class Policy:
    """A model with its tokenizer; `reasoner` shares its weights, so what is trained is what speaks."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.prompt = prompt

    @cached_property
    def end_of_turn(self) -> frozenset[int]:
        """Ids that end a turn: the tokenizer's and every one that the model's generation config names."""
        named = self.model.generation_config.eos_token_id
        ids = {*([] if named is None else [named] if isinstance(named, int) else named), self.tokenizer.eos_token_id}
        return frozenset(ids - {None})

    @cached_property
    def reasoner(self) -> LocalReasoner:
        """A Reasoner over the same weights; nothing is copied."""
        return LocalReasoner.from_model(self.model, self.tokenizer, prompt=self.prompt)

    def render(self, question: str) -> Prefix:
        """Returns the prompt of a problem, as a rollout begins with it."""
        return self.reasoner.render(question)

    def save(self, directory: Path) -> Path:
        """Writes model, tokenizer, chat template and generation config; in float32, as trained."""
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)
        return directory


ONE_THREAD_BELOW = 50_000_000
"""Parameters below which a second CPU thread costs more than it brings."""


def load_policy(model_dir: Path) -> Policy:
    """Loads a model directory for training: float32 weights, updated without rounding.

    On a CPU a small model also sets torch to one thread, for the whole process.

    Raises:
        InputError: there is no model in the directory, or more than one device or process is to be used.
    """
    silence()
    if torch.cuda.device_count() > 1 or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            f"{torch.cuda.device_count()} GPUs and {os.environ.get('WORLD_SIZE', '1')} processes; training runs on one "
            "device in one process: set CUDA_VISIBLE_DEVICES to one GPU and start without a launcher"
        )
    if not (model_dir / "config.json").is_file():
        raise InputError(
            f"{model_dir} holds no model (no config.json); training needs a local model directory: download it"
        )
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32, device_map=device)
    if device == "cpu" and model.num_parameters() < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    return Policy(model, tokenizer, prompt_of_model(model_dir))
