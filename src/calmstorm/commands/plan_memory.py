"""What a recipe needs of GPUs and disk, from the geometry of its model.

Estimates by formulas that docs/qwen3-4b.md explains; they were not measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence

from calmstorm.commands.plan_bounds import StageBounds
from calmstorm.commands.plan_geometry import Geometry
from calmstorm.commands.plan_training import Needs, needs
from calmstorm.records import Stage
from calmstorm.settings import Recipe, TrainingSettings

GIB = 2**30
BYTES_PER_TOKEN = 10.7
"""Of trajectories on disk, text and token ids together, as `make bench-curation` measures it."""
USABLE = 0.9
"""Share of a GPU's memory that is counted on; also what vLLM takes unless told otherwise."""


def memory(recipe: Recipe, geometry: Geometry, gpu_gib: float) -> dict[str, float]:
    """Returns what serving and training need, GiB a GPU unless named otherwise.

    Args:
        recipe: Lengths, micro-batches, adapters, processes, where rollouts of reinforcement come from.
        geometry: Of its model.
        gpu_gib: Memory of one GPU.
    """
    longest = recipe.rl.prompt_tokens + recipe.rollout.response_tokens
    weights = 2 * geometry.parameters / GIB
    sequence = 2 * geometry.cache_numbers_per_token * longest / GIB
    fitting = max(0, int((USABLE * gpu_gib - weights) // sequence))
    planned = {
        "parameters_billions": geometry.parameters / 1e9,
        "serving_weights": weights,
        "cache_of_one_sequence": sequence,
        "full_sequences_that_fit": fitting,
    }
    trained = training_needs(recipe, geometry)
    for stage, found in trained.items():
        planned |= {f"{stage}_{part}": size / GIB for part, size in found._asdict().items()}  # held at once: add up
    if generates_in_process(recipe):
        # While rollouts are made there are no activations, but all states.
        cached = geometry.cache_numbers_per_token * (2 if recipe.rl.lora_rank else 4)
        one = cached * (recipe.rl.prompt_tokens + recipe.rl.response_tokens) / GIB
        planned["rl_cache_of_one_sequence"] = one
        planned["rl_sequences_that_fit"] = max(0, int((USABLE * gpu_gib - trained["rl"].states / GIB) // one))
    return {name: round(value, 3) for name, value in planned.items()}


def training_needs(recipe: Recipe, geometry: Geometry) -> dict[str, Needs]:
    """Returns the peak memory of a step of fine-tuning and of one of reinforcement, on each GPU."""
    sft, rl = recipe.sft, recipe.rl
    sharded = rl.model_copy(update={"sharding": "fsdp2"}) if rl.engine == "verl" else rl
    at_once = 1 if sft.packing else sft.micro_batch
    return {
        "sft": needs(geometry, sft, at_once * sft.sequence_tokens, rl=False),
        "rl": needs(geometry, sharded, rl.micro_batch * (rl.prompt_tokens + rl.response_tokens), rl=True),
    }


def generates_in_process(recipe: Recipe) -> bool:
    """Whether rollouts of reinforcement are made by the process that trains."""
    return recipe.rl.engine == "trl" and recipe.rl.generator == "process"


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
