"""What a step of training needs of each GPU, and how much arithmetic it is, from the geometry of the model.

Counted are the numbers that are held at once when a pass goes backwards: weights, gradients and optimizer, what the
layers keep for the gradient, and the working memory of the loss, which never makes all logits. The same count serves a
GPU in bfloat16 and a CPU in float32, where `benchmarks/training_memory.py` compares it with real steps.
"""

from __future__ import annotations

from typing import NamedTuple

from calmstorm.commands.plan_geometry import Geometry
from calmstorm.settings import TrainingSettings

TILE_TOKENS, TILE_VOCABULARY = 4096, 32768
"""Logits that TRL's loss makes at once."""
CPU_LOGITS = 2**26
"""Logits that `calmstorm.training.cpu.scoring` makes at once."""
CPU_TILES = 8.25
"""Copies of its logits that TRL's loss holds where it has no Triton, and a mask of them."""
CPU_SCORING_TILES = 3
"""Copies of its logits that `calmstorm.training.cpu.scoring` holds."""
KEPT_VALUES = 2**24
"""Hidden values of a pass beyond which fine-tuning on a CPU makes activations again for the gradient."""
LIVE_PARAMETERS = 10**9
"""Weights that DeepSpeed keeps gathered at most (`stage3_max_live_parameters`)."""


class Numbers(NamedTuple):
    """Bytes of the numbers of a training."""

    weight: float
    """A trained weight, as it is kept, all copies together."""
    gradient: float
    optimizer: float
    """Of a trained weight: the states of AdamW, and where weights are bfloat16 their float32 copy."""
    frozen: float
    """A weight beside adapters."""
    activation: float
    logit: float


CPU = Numbers(weight=4, gradient=4, optimizer=8, frozen=4, activation=4, logit=4)
"""Float32, as on a CPU whose bfloat16 does not pay."""
GPU = {
    # float32, and the bfloat16 copies that autocast keeps during a pass; the residual stream is float32
    "none": Numbers(weight=6, gradient=4, optimizer=8, frozen=2, activation=4, logit=2),
    "zero3": Numbers(weight=2, gradient=2, optimizer=12, frozen=2, activation=2, logit=2),
    "fsdp2": Numbers(weight=4, gradient=4, optimizer=8, frozen=4, activation=2, logit=2),
}
"""By sharding."""


class Needs(NamedTuple):
    """Memory of a training on each GPU, bytes."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    """Weights of other processes that are here while they are computed with."""
    activations: float
    loss: float
    """Working memory of the loss, with gradients that are not yet where they belong."""

    @property
    def states(self) -> float:
        """What is held from step to step."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> float:
        """All at once."""
        return sum(self)


def needs(geometry: Geometry, settings: TrainingSettings, tokens: int, *, rl: bool, on_cpu: bool = False) -> Needs:
    """Returns the peak memory of a step.

    Args:
        geometry: Of the model.
        settings: Adapters, processes, sharding.
        tokens: Of a pass through the model: of all its rows, padded.
        rl: Reinforcement, whose loss on a CPU is another, and which keeps all activations there.
        on_cpu: Float32 in one process on a CPU.
    """
    numbers = CPU if on_cpu else GPU[settings.sharding]
    shares = 1 if settings.sharding == "none" else settings.processes * settings.nodes
    trained = geometry.adapter_parameters(settings.lora_rank) if settings.lora_rank else geometry.parameters
    frozen = geometry.parameters if settings.lora_rank else 0
    if settings.lora_rank:  # adapters are float32
        numbers = numbers._replace(weight=4, gradient=4, optimizer=8)
    states = (
        (numbers.weight * trained + numbers.frozen * frozen) / shares,
        numbers.gradient * trained / shares,
        numbers.optimizer * trained / shares,
    )
    gathered = 0.0 if shares == 1 else 2.0 * _gathered(geometry, settings)
    kept, working = _activations(geometry, tokens, _checkpoints(geometry, tokens, rl=rl, on_cpu=on_cpu))
    head = geometry.vocabulary * geometry.hidden
    head_gradient = 0.0 if settings.lora_rank else 4.0 * head
    loss = _logits(geometry, tokens, numbers, rl=rl, on_cpu=on_cpu) + 4.0 * tokens * geometry.hidden
    # The loss goes first; then its gradient of the head waits, with a tied embedding, for the end of the pass.
    at_loss = loss + head_gradient
    at_layer = numbers.activation * working + (head_gradient if geometry.tied else 0.0)
    at_end = 2 * head_gradient - numbers.activation * kept
    return Needs(*states, gathered, numbers.activation * kept, max(at_loss, at_layer, at_end))


def _checkpoints(geometry: Geometry, tokens: int, *, rl: bool, on_cpu: bool) -> bool:
    return not on_cpu or (not rl and tokens * geometry.layers * geometry.hidden > KEPT_VALUES)


def _gathered(geometry: Geometry, settings: TrainingSettings) -> float:
    if settings.sharding == "zero3":
        return min(geometry.parameters, LIVE_PARAMETERS)
    embeddings = geometry.vocabulary * geometry.hidden * (1 if geometry.tied else 2)
    return embeddings + 2 * geometry.layer_parameters


def _activations(geometry: Geometry, tokens: int, checkpointing: bool) -> tuple[float, float]:
    """Returns numbers that are kept for the gradient, and those of the layer that goes backwards.

    A layer keeps its two norms' inputs, outputs and what is between; queries and keys before, in and behind their norm
    and rotation; values; the attention's output; gate, its activation, the other half and their product.
    """
    query, key = geometry.heads * geometry.head_dim, geometry.kv_heads * geometry.head_dim
    inside = 5 * geometry.hidden + 4 * query + 4 * key + 4 * geometry.intermediate
    backward = 2 * geometry.intermediate + 2 * geometry.hidden
    final_norm = 3 * geometry.hidden
    if checkpointing:
        return tokens * (geometry.layers * geometry.hidden + final_norm), tokens * (inside + backward)
    return tokens * (geometry.layers * (geometry.hidden + inside) + final_norm), tokens * backward


def _logits(geometry: Geometry, tokens: int, numbers: Numbers, *, rl: bool, on_cpu: bool) -> float:
    """Returns bytes of the logits that are there at once, copies included."""
    if on_cpu and rl:  # each part of the tokens has a gradient of the head, which is added to that of the others
        head = 4.0 * geometry.vocabulary * geometry.hidden
        return CPU_SCORING_TILES * numbers.logit * min(CPU_LOGITS, tokens * geometry.vocabulary) + head
    tile = numbers.logit * min(tokens, TILE_TOKENS) * min(geometry.vocabulary, TILE_VOCABULARY)
    return (CPU_TILES if on_cpu else 1) * tile


def training_flops(geometry: Geometry, tokens: int, length: int) -> float:
    """Returns the arithmetic of a forward and a backward pass, activations made again for the gradient.

    Args:
        geometry: Of the model.
        tokens: In all.
        length: Of a sequence; half of it is what a token attends to on average.
    """
    linear = geometry.layers * geometry.layer_parameters
    attention = geometry.layers * geometry.heads * geometry.head_dim * length
    head = geometry.vocabulary * geometry.hidden
    return 2.0 * tokens * (4 * (linear + attention) + 4 * head)
