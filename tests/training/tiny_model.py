"""A byte-level tokenizer, a random Qwen3 that trains in a second, and what it is trained on."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

from calmstorm.pocket.architecture import pocket_config
from calmstorm.records import (
    Author,
    Execution,
    ExecutionStatus,
    GoldenTrajectory,
    LabelStatus,
    Problem,
    Span,
    SpanKind,
    StopReason,
    Trajectory,
)

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level: every byte one token, so that text and ids are easy to follow."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: index for index, token in enumerate([*specials, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=specials[2], pad_token=specials[0], padding_side="left"
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def write_tiny_model(directory: Path, seed: int = 0) -> Path:
    """Writes a random model of some 60 thousand parameters with its tokenizer."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(seed)
    config = pocket_config(
        tokenizer,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        tie_word_embeddings=False,
    )
    model = Qwen3ForCausalLM(config)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "calmstorm.json").write_text('{"prompt": "pocket-1"}')
    return directory


SCRIPT = "```python\nprint(1)\n```\n"
OUTPUT = "```output\n1\n```\n"


def ids(text: str) -> tuple[int, ...]:
    """Token ids of a text, special tokens recognised."""
    return tuple(tiny_tokenizer()(text, add_special_tokens=False)["input_ids"])


def span(author: Author, kind: SpanKind, text: str, end: bool = False) -> Span:
    """A span with its token ids; `end` adds the end-of-turn token, which is in the ids alone."""
    return Span(author=author, kind=kind, text=text, token_ids=ids(text + ("<|im_end|>" if end else "")))


def golden(number: int, answer: int = 3, hint: str = "") -> GoldenTrajectory:
    """A short trajectory with every author in it."""
    spans = [span(Author.REASONER, SpanKind.CODE, SCRIPT), span(Author.INTERPRETER, SpanKind.OUTPUT, OUTPUT)]
    if hint:
        spans.insert(0, span(Author.INTERVENER, SpanKind.HINT, hint))
    spans.append(span(Author.REASONER, SpanKind.TEXT, f"\\boxed{{{answer}}}", end=True))
    trajectory = Trajectory(
        problem_id=f"p{number}", sample=0, stage="curation", spans=tuple(spans), stop_reason=StopReason.FINISHED
    )
    return GoldenTrajectory(trajectory=trajectory, question=f"Q{number % 4}", interventions=(), edited_token_share=0.0)


def coin_problems(count: int = 4) -> list[Problem]:
    """Problems whose answer is 3."""
    return [
        Problem(id=f"q{number}", question=f"Q{number}", answer=3.0, status=LabelStatus.OPTIMAL)
        for number in range(count)
    ]


class EchoInterpreter:
    """Prints 1, whatever it is given; fails as our machinery does after `healthy` executions."""

    def __init__(self, healthy: int = 10**9) -> None:
        self.healthy = healthy

    async def arun(self, code: str | bytes, limits: object = None) -> Execution:
        """Answers at once."""
        self.healthy -= 1
        if self.healthy < 0:
            return Execution(status=ExecutionStatus.INFRASTRUCTURE, stdout="", wall_seconds=0.0, tier="unsafe")
        return Execution(status=ExecutionStatus.OK, stdout="1\n", wall_seconds=0.0, tier="unsafe")
