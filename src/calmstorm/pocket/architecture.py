"""The architecture of the pocket Reasoner: a Qwen3 of 1.3 million parameters."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase, Qwen3Config


def pocket_config(tokenizer: PreTrainedTokenizerBase, **changes: Any) -> Qwen3Config:  # noqa: ANN401
    """Returns the configuration of the pocket model.

    Args:
        tokenizer: Gives the size of the vocabulary and the special tokens.
        changes: Values that are to differ, for the models of tests and benchmarks.
    """
    values = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,  # vLLM needs 32 or more
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,  # while it learns; `pretrain.export` unties them
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return Qwen3Config(**{**values, **changes})
