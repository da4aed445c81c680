"""How weights, gradients and optimizer are spread over processes: one description for the trainers and for accelerate.

`none` keeps all of them in every process, float32 with bfloat16 arithmetic. `zero3` is DeepSpeed ZeRO-3 as in the
paper: bfloat16 weights, float32 master copies in the optimizer. `fsdp2` is torch's own: float32 shards, bfloat16
arithmetic.
"""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from typing import Any, Literal

from calmstorm.errors import MissingExtraError

Sharding = Literal["none", "zero3", "fsdp2"]
LAYER = "Qwen3DecoderLayer"
"""What FSDP gathers at once."""

Tree = dict[str, Any]
"""Settings by name, as JSON has them."""


def trainer_arguments(sharding: Sharding, checkpointing: bool) -> dict[str, Any]:
    """Returns the arguments of `TrainingArguments` that concern sharding and activations.

    Args:
        sharding: As in a recipe.
        checkpointing: Activations of a layer are made again for the gradient.

    Raises:
        MissingExtraError: ZeRO-3 needs DeepSpeed.
    """
    if sharding == "zero3":
        require_deepspeed()
        _quieten_deepspeed()
        os.environ.pop("ACCELERATE_USE_CPU", None)  # where it is set, accelerate leaves DeepSpeed out and says nothing
        return {"deepspeed": zero3(), "gradient_checkpointing": checkpointing}
    if sharding == "fsdp2":
        return {
            "fsdp": True,
            "fsdp_config": fsdp2(checkpointing),
        }
    return {"gradient_checkpointing": checkpointing}


def zero3() -> Tree:
    """Returns DeepSpeed's configuration; what is "auto" follows the trainer's arguments."""
    return {
        "zero_optimization": {
            "stage": 3,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
    }


def fsdp2(checkpointing: bool) -> Tree:
    """Returns FSDP's configuration; `TrainingArguments` knows these names, accelerate puts `fsdp_` before them."""
    return {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_layer_cls_to_wrap": LAYER,
        "reshard_after_forward": True,
        "cpu_ram_efficient_loading": False,
        "state_dict_type": "FULL_STATE_DICT",
        "activation_checkpointing": checkpointing,
    }


def require_deepspeed() -> None:
    """Refuses where DeepSpeed is not installed.

    Raises:
        MissingExtraError: It is not.
    """
    if find_spec("deepspeed") is None:
        raise MissingExtraError("deepspeed", "deepspeed")


def _quieten_deepspeed() -> None:
    """Keeps DeepSpeed from compiling a faster exchange between CPU processes, which takes minutes, and from warning."""
    import deepspeed

    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)  # it calls them
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
