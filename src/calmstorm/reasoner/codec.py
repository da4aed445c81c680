"""A Hugging Face tokenizer as a `TokenCodec`: nothing added, nothing cleaned up, nothing smuggled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenizerCodec:
    """Text to ids and back with a `transformers` tokenizer.

    Text that merely looks like a special token ("<|im_end|>" printed by a script) is encoded as ordinary text, so that
    execution output and hints cannot end a turn.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, with no special tokens added or recognised."""
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [int(i) for i in ids]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Returns the text of the ids; special tokens are rendered as their text."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:  # the wrapper around it costs five times the work
            return str(backend.decode(list(token_ids), skip_special_tokens=False))
        return str(
            self.tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )
