"""Sizes of a dense Qwen3 model, from its directory, the hub's cache or its name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple


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
        return embeddings + self.layers * self.layer_parameters

    @property
    def layer_parameters(self) -> int:
        """Weights of one block."""
        return sum(rows * columns for rows, columns in self.linear_layers)

    @property
    def linear_layers(self) -> list[tuple[int, int]]:
        """Shapes of the linear layers of one block."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = [(query, self.hidden), (key, self.hidden), (key, self.hidden), (self.hidden, query)]
        return [*attention, *[(self.intermediate, self.hidden)] * 3]

    @property
    def cache_numbers_per_token(self) -> int:
        """Keys and values."""
        return 2 * self.layers * self.kv_heads * self.head_dim

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of LoRA on all linear layers."""
        return self.layers * rank * sum(rows + columns for rows, columns in self.linear_layers)


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
