"""The model in training: a Reasoner over the very weights that are trained."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch
import transformers

from calmstorm.errors import InputError
from calmstorm.reasoner.local import LocalReasoner

ONE_THREAD_BELOW = 50_000_000
"""Parameters below which a second CPU thread costs more than it brings."""


def load_policy(model_dir: Path, prompt: str | None = None) -> LocalReasoner:
    """Loads a model directory for training: float32 weights, updated without rounding.

    From here on TRL, transformers and datasets write nothing but errors to the terminal. On a CPU a small model also
    sets torch to one thread, for the whole process.

    Args:
        model_dir: The model.
        prompt: Name of the prompt to train with; None means what the directory asks for.

    Raises:
        InputError: There is no model in the directory, or more than one device or process is to be used.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("trl", "datasets", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    processes = os.environ.get("WORLD_SIZE", "1")
    if torch.cuda.device_count() > 1 or int(processes) > 1:
        raise InputError(
            f"{torch.cuda.device_count()} GPUs and {processes} processes; training runs on one device in one process: "
            "set CUDA_VISIBLE_DEVICES to one GPU and start without a launcher"
        )
    if not (model_dir / "config.json").is_file():
        raise InputError(
            f"{model_dir} holds no model (no config.json); training needs a local model directory: download it"
        )
    policy = LocalReasoner(model_dir, prompt=prompt, dtype="float32")
    if policy.model.device.type == "cpu" and policy.model.num_parameters() < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    return policy
