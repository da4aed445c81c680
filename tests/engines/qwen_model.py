"""A model with the shape of a real one where it matters to everything around it: vocabulary, chat template, positions.

Its weights are random and few, so that 16,384 tokens take minutes and not hours on a CPU.
"""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

VOCABULARY = 151_936
"""Rows of the embedding; the tokenizer uses 151,669 of them, as in Qwen3."""
POSITIONS = 40_960


def save_random_model(tokenizer: PreTrainedTokenizerFast, directory: Path, seed: int = 0) -> Path:
    """Writes a model of two layers that never ends its turn, with its tokenizer; returns its directory."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.3,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] = 0  # its logit is 0 while those of thousands are far above
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
