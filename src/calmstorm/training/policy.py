"""The model in training: a Reasoner over the very weights that are trained."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
import transformers

from calmstorm.progress import note
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.settings import LocalSettings, TrainingSettings
from calmstorm.training.lora import add_adapters
from calmstorm.training.ranks import world_size

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

    Under LoRA the weights themselves stay as they are: on a GPU they are bfloat16, and the adapters float32.
    From here on TRL, transformers and datasets write nothing but errors to the terminal. On a CPU a small model also
    sets torch to one thread, for the whole process. Of several GPUs one process uses the first, and each of several its
    own.

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
    if world_size() > 1 and torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    elif torch.cuda.device_count() > 1:
        note(f"training uses the first of {torch.cuda.device_count()} GPUs")
    adapted = settings is not None and settings.lora_rank > 0
    local = (local or LocalSettings()).model_copy(update={"dtype": "auto" if adapted else "float32"})
    policy = LocalReasoner(directory, prompt=prompt, local=local, shared=True)
    if settings is not None and adapted:
        add_adapters(policy.model, settings, seed)
    if policy.model.device.type == "cpu" and policy.model.num_parameters() < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    return policy
