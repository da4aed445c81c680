"""The model in training: a Reasoner over the very weights that are trained."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
import transformers

from calmstorm.progress import note
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.settings import LocalSettings, TrainingSettings
from calmstorm.training.lora import add_adapters
from calmstorm.training.ranks import local_rank, world_size

ONE_THREAD_BELOW = 50_000_000
"""Parameters below which a second CPU thread costs more than it brings."""


def load_policy(
    directory: Path,
    prompt: str | None = None,
    settings: TrainingSettings | None = None,
    seed: int = 1,
    local: LocalSettings | None = None,
) -> LocalReasoner:
    """Loads a model for training: float32 weights, updated without rounding.

    Under LoRA the weights themselves stay as they are: on a GPU they are bfloat16, and the adapters float32. So are all
    weights under ZeRO-3, whose optimizer keeps them in float32.
    From here on TRL, transformers and datasets write nothing but errors to the terminal. On a CPU a small model also
    sets torch to one thread, for the whole process. Of several
    GPUs each process of a launcher uses its own, and one process the first.

    Args:
        directory: Of the model.
        prompt: Name of the prompt that it is trained with; None means the one that its directory asks for.
        settings: Whether it gets adapters; None means that it does not.
        seed: Of what adapters begin with.
        local: Device, and memory of rollouts.

    Raises:
        InputError: There is no such model.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("trl", "datasets", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("DeepSpeed").addFilter(_is_error)  # which sets its own level when it is imported, and on stdout
    if torch.cuda.device_count() > 1 and world_size() == 1:
        note(f"training uses the first of {torch.cuda.device_count()} GPUs")
    adapted = settings is not None and settings.lora_rank > 0
    local = (local or LocalSettings()).model_copy(update={"dtype": _dtype(settings)})
    if world_size() > 1 and torch.cuda.is_available() and local.device in ("auto", "cuda"):
        local = local.model_copy(update={"device": f"cuda:{local_rank()}"})
    policy = LocalReasoner(directory, prompt=prompt, local=local, shared=True)
    if settings is not None and adapted:
        add_adapters(policy.model, settings, seed)
    if policy.model.device.type == "cpu" and policy.model.num_parameters() < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    return policy


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _dtype(settings: TrainingSettings | None) -> str:
    """Returns the type that weights are loaded in; `auto` is bfloat16 on a GPU."""
    if settings is None or settings.sharding == "fsdp2":  # FSDP wants all weights of a layer to have one type
        return "float32"
    return "auto" if settings.lora_rank > 0 or settings.sharding == "zero3" else "float32"
