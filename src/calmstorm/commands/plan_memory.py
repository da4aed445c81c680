"""What a recipe needs of GPUs and disk, from the geometry of its model.

Estimates by formulas that docs/qwen3-4b.md explains; they were not measured on a GPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from calmstorm.commands.plan_bounds import StageBounds
from calmstorm.records import Stage
from calmstorm.settings import Recipe, TrainingSettings

GIB = 2**30
BYTES_PER_TOKEN = 10.7
"""Of trajectories on disk, text and token ids together, as `make bench-curation` measures it."""
USABLE = 0.9
"""Share of a GPU's memory that is counted on; also what vLLM takes unless told otherwise."""
_STATES = 16
"""Bytes per trained parameter: weight, gradient and two states of AdamW in float32; or, sharded, weight and gradient in
bfloat16 with weight and states in float32."""
_CAST = 2
"""Bytes per float32 weight for its bfloat16 copy, which autocast keeps during a pass."""


class Geometry(NamedTuple):
    """Sizes of a dense Qwen3 model."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    """The head is the embedding."""

    @property
    def parameters(self) -> int:
        """All weights; norms, some thousandths of a percent, are left out."""
        embeddings = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return embeddings + self.layers * sum(rows * columns for rows, columns in self.linear_layers)

    @property
    def linear_layers(self) -> list[tuple[int, int]]:
        """Shapes of the linear layers of one block."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = [(query, self.hidden), (key, self.hidden), (key, self.hidden), (self.hidden, query)]
        return [*attention, *[(self.intermediate, self.hidden)] * 3]

    @property
    def cache_bytes_per_token(self) -> int:
        """Keys and values in bfloat16."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 2

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of LoRA on all linear layers."""
        return self.layers * rank * sum(rows + columns for rows, columns in self.linear_layers)

    def activation_bytes(self, tokens: int) -> int:
        """A pass with gradient checkpointing: one state per block, and the insides of one block, 4 bytes a number."""
        inside = 4 * self.hidden + 3 * self.intermediate + 2 * (self.heads + self.kv_heads) * self.head_dim
        return 4 * tokens * (self.layers * self.hidden + inside)


_QWEN3 = {
    "0.6B": Geometry(28, 1024, 3072, 16, 8, 128, 151936, True),
    "1.7B": Geometry(28, 2048, 6144, 16, 8, 128, 151936, True),
    "4B": Geometry(36, 2560, 9728, 32, 8, 128, 151936, True),
    "8B": Geometry(36, 4096, 12288, 32, 8, 128, 151936, False),
    "14B": Geometry(40, 5120, 17408, 40, 8, 128, 151936, False),
    "32B": Geometry(64, 5120, 25600, 64, 8, 128, 151936, False),
}
"""The dense Qwen3 models, for hub ids that are not on this machine."""
_SIZE = re.compile(r"/Qwen3-([\d.]+B)(?!-A)(?:-|$)")


def geometry_of(model: str) -> Geometry | None:
    """Returns the geometry of a model directory, of a hub id that was downloaded, or of a Qwen3 model by its name.

    Args:
        model: Directory or hub id. Nothing is downloaded.

    Returns:
        None where it is not known.
    """
    config = _config(model)
    if config is None:
        size = _SIZE.search(model)
        return _QWEN3.get(size.group(1)) if size else None
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        return Geometry(
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings")),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _config(model: str) -> dict[str, int] | None:
    path = Path(model) / "config.json"
    if not path.is_file():
        try:
            from huggingface_hub import try_to_load_from_cache
        except ImportError:
            return None
        try:
            cached = try_to_load_from_cache(model, "config.json")
        except ValueError:  # no hub id
            return None
        if not isinstance(cached, str):
            return None
        path = Path(cached)
    config: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return config


def memory(recipe: Recipe, geometry: Geometry, gpus: int, gpu_gib: float) -> dict[str, float]:
    """Returns what serving and training need, GiB a GPU unless named otherwise.

    Args:
        recipe: Lengths, micro-batches, adapters.
        geometry: Of its model.
        gpus: Over which the states of a training are sharded; activations are not.
        gpu_gib: Memory of one GPU.
    """
    longest = recipe.rl.prompt_tokens + recipe.rollout.response_tokens
    weights = 2 * geometry.parameters / GIB
    sequence = geometry.cache_bytes_per_token * longest / GIB
    fitting = max(0, int((USABLE * gpu_gib - weights) // sequence))
    trained = {
        "sft": _training(geometry, recipe.sft, recipe.sft.micro_batch * recipe.sft.sequence_tokens, gpus),
        "rl": _training(
            geometry, recipe.rl, recipe.rl.micro_batch * (recipe.rl.prompt_tokens + recipe.rl.response_tokens), gpus
        ),
    }
    needs = {
        "parameters_billions": geometry.parameters / 1e9,
        "serving_weights": weights,
        "cache_of_one_sequence": sequence,
        "full_sequences_that_fit": fitting,
        **{f"{name}_states": states for name, (states, _) in trained.items()},
        **{f"{name}_activations": activations for name, (_, activations) in trained.items()},
    }
    return {name: round(value, 3) for name, value in needs.items()}


def _training(geometry: Geometry, settings: TrainingSettings, tokens: int, gpus: int) -> tuple[float, float]:
    """Returns GiB of weights, gradients and optimizer on each GPU, and of activations."""
    if settings.lora_rank:
        states = 2 * geometry.parameters + _STATES * geometry.adapter_parameters(settings.lora_rank)
    else:
        states = (_STATES + (_CAST if gpus == 1 else 0)) * geometry.parameters
    return states / gpus / GIB, geometry.activation_bytes(tokens) / GIB


def disk(recipe: Recipe, stages: Sequence[StageBounds], geometry: Geometry | None) -> dict[str, float]:
    """Returns GiB on disk: of trajectories at most, of both trained models, and of the checkpoints of one training.

    Args:
        recipe: Which weights it trains.
        stages: Its bounds.
        geometry: Of its model, where that is known.
    """
    written = sum(stage.tokens for stage in stages if stage.rollouts and stage.stage != Stage.RL)
    needs = {"trajectories": written * BYTES_PER_TOKEN / GIB}
    if geometry is not None:
        saved = [_saved(geometry, settings) for settings in (recipe.sft, recipe.rl)]
        needs |= {
            "trained_models": sum(weights for weights, _ in saved) / GIB,
            "checkpoints_while_training": max(2 * sum(sizes) for sizes in saved) / GIB,
        }
    return {name: round(value, 3) for name, value in needs.items()}


def _saved(geometry: Geometry, settings: TrainingSettings) -> tuple[int, int]:
    """Returns bytes of a saved model, and of the optimizer beside it in a checkpoint."""
    if settings.lora_rank:
        return 2 * geometry.parameters, 12 * geometry.adapter_parameters(settings.lora_rank)
    return 4 * geometry.parameters, 8 * geometry.parameters
