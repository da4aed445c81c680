"""The byte-pair vocabulary of the Qwen family as a tokenizer, and tiny random models that speak it.

The ranks of its 151,643 tokens come with the package dashscope (`make test-engines` installs it, without what it
depends on; nothing of it is imported). Merges follow from ranks: a token was made of the two parts into which merges of
lower rank had brought its bytes.
"""

from __future__ import annotations

import base64
import importlib.util
from functools import cache
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_SPLITS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
_ADDED = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>",
)  # fmt: skip
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""ChatML that begins the answer by thinking, as the thinking models of the family do."""


def vocabulary_file() -> Path | None:
    """Returns the file of ranks, or None where the package that holds it is not installed."""
    package = importlib.util.find_spec("dashscope")
    folders = (package.submodule_search_locations if package is not None else None) or []
    files = [Path(folder) / "resources" / "qwen.tiktoken" for folder in folders]
    return next((file for file in files if file.is_file()), None)


def build_tokenizer(vocabulary: Path) -> PreTrainedTokenizerFast:
    """Builds the tokenizer of Qwen3 from ranks: 151,643 byte-pair tokens and 26 further ones."""
    ranks = {base64.b64decode(token): int(rank) for token, rank in map(str.split, vocabulary.read_text().splitlines())}
    backend = Tokenizer(models.BPE(vocab={_printed(t): rank for t, rank in ranks.items()}, merges=_merges(ranks)))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLITS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in _SPECIAL])
    backend.add_tokens([AddedToken(token, normalized=False, special=False) for token in _ADDED])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left")
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def byte_ids(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Returns the token of every single byte."""
    vocabulary = tokenizer.get_vocab()
    return [vocabulary[character] for character in _byte_characters()]


def _merges(ranks: dict[bytes, int]) -> list[tuple[str, str]]:
    """Returns the pairs that tokens are made of, in the order in which they are merged."""
    return [
        (_printed(left), _printed(right))
        for token, rank in sorted(ranks.items(), key=lambda item: item[1])
        if len(token) > 1
        for left, right in [_parts(token, rank, ranks)]
    ]


def _parts(token: bytes, rank: int, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, rank) for left, right in pairwise(parts)]
        first = min(range(len(pairs)), key=pairs.__getitem__)
        assert pairs[first] < rank, f"token {token!r} cannot be merged from its bytes"
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    return parts[0], parts[1]


def _printed(token: bytes) -> str:
    """Returns the bytes as the byte-level vocabulary writes them: one printable character each."""
    return "".join(map(_byte_characters().__getitem__, token))


@cache
def _byte_characters() -> tuple[str, ...]:
    plain = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    shifted = (byte for byte in range(256) if byte not in plain)
    others = {byte: chr(256 + index) for index, byte in enumerate(shifted)}
    return tuple(others.get(byte, chr(byte)) for byte in range(256))
