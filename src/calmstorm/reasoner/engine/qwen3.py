"""One forward step of a Qwen3 model over many sequences at once, against the `KVCache`.

All tokens of a batch stand in one flat row, whatever sequence they belong to: first one token for each slot that
decodes, then the prefill chunks. Linear layers see no padding; attention is done per group. The layers of the Hugging
Face model are called as they are, so adapters and weight changes take effect; only the order of work is ours.

Not covered: sliding-window attention, attention dropout, gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from calmstorm.errors import InputError
from calmstorm.reasoner.engine.attention import attend_decode, attend_prefill
from calmstorm.reasoner.engine.batch import Batch
from calmstorm.reasoner.engine.kv_cache import KVCache, KVCacheSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Qwen3Runner:
    """Runs batches through a `Qwen3ForCausalLM`."""

    def __init__(self, model: PreTrainedModel) -> None:
        causal: Any = model
        if hasattr(causal, "get_base_model"):  # wrapped by an adapter library
            causal = causal.get_base_model()
        config = causal.config
        if config.model_type != "qwen3":
            raise InputError(
                f"model type is {config.model_type!r}; the local engine runs 'qwen3': serve other models behind an "
                "OpenAI-compatible server"
            )
        if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
            raise InputError("the model uses sliding-window attention, which the local engine does not run: serve it")
        self.causal = causal
        self.layers: list[Any] = list(causal.model.layers)
        self.heads = int(config.num_attention_heads)
        self.kv_heads = int(config.num_key_value_heads)
        self.head_dim = int(getattr(config, "head_dim", None) or config.hidden_size // self.heads)
        self.max_positions = int(config.max_position_embeddings)
        self.vocabulary = int(causal.lm_head.weight.shape[0])

    def cache_spec(self) -> KVCacheSpec:
        """Returns what a position needs in this model, on its device, in its type."""
        weight = self.causal.model.embed_tokens.weight
        return KVCacheSpec(len(self.layers), self.kv_heads, self.head_dim, weight.dtype, weight.device)

    def forward(self, batch: Batch, cache: KVCache) -> torch.Tensor:
        """Returns the float32 logits `(N, V)` at `logits_at`, and stores all keys and values of the batch."""
        model = self.causal.model
        hidden = model.embed_tokens(batch.tokens)  # (T, D)
        cos, sin = model.rotary_emb(hidden, batch.positions[None])
        cos, sin = cos[0, :, None], sin[0, :, None]  # (T, 1, head_dim)
        for index, layer in enumerate(self.layers):
            normed = _norm(layer.input_layernorm, hidden)
            hidden = hidden + self._attention(index, normed, cos, sin, batch, cache)
            hidden = hidden + layer.mlp(_norm(layer.post_attention_layernorm, hidden))
        if batch.logits_at is not None:
            hidden = hidden[batch.logits_at]
        logits: torch.Tensor = self.causal.lm_head(_norm(model.norm, hidden))
        return logits.float()

    def _attention(
        self,
        index: int,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        batch: Batch,
        cache: KVCache,
    ) -> torch.Tensor:
        attention = self.layers[index].self_attn
        count = hidden.shape[0]
        query = attention.q_proj(hidden).view(count, self.heads, self.head_dim)
        key = attention.k_proj(hidden).view(count, self.kv_heads, self.head_dim)
        value = attention.v_proj(hidden).view(count, self.kv_heads, self.head_dim)
        query = _rotate(_norm(attention.q_norm, query), cos, sin)
        key = _rotate(_norm(attention.k_norm, key), cos, sin)
        cache.write(index, batch.slots, batch.columns, key, value)
        mixed = torch.zeros_like(query)
        keys, values = cache.keys[index], cache.values[index]
        for block in batch.blocks:
            attend_decode(block, query, keys, values, attention.scaling, mixed)
        for chunk in batch.chunks:
            attend_prefill(chunk, query, keys, values, attention.scaling, mixed)
        out: torch.Tensor = attention.o_proj(mixed.view(count, self.heads * self.head_dim))
        return out


def _norm(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The model's RMS norm in one fused call."""
    weights: Any = module
    return functional.rms_norm(x, x.shape[-1:], weights.weight, weights.variance_epsilon)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding of `x (T, heads, head_dim)`."""
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat((-high, low), -1) * sin
