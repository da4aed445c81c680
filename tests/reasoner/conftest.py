"""A tiny tokenizer and a tiny random Qwen3, built in a second: enough to compare engines token by token."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from calmstorm.pocket.architecture import pocket_config

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = [
    "Maximize profit subject to labor and wood.\n```python\nimport pulp\nprint(12 * 7)\n```\n```output\n84\n```\n",
    "The answer is \\boxed{84}. Größe, 東京, naïve, 12 + 30 = 42\n\n",
] * 20


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    torch.set_num_threads(1)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    backend.train_from_iterator(TEXTS, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left")
    wrapped.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0, positions: int = 2048) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = pocket_config(
        tokenizer,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=6,
        head_dim=16,
        max_position_embeddings=positions,
        initializer_range=0.2,  # far from uniform, so that greedy paths are stable and differ
    )
    return Qwen3ForCausalLM(config).eval()


@pytest.fixture(scope="session")
def model(tokenizer: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    return build_model(tokenizer)


@pytest.fixture(scope="session")
def make_model():
    return build_model
