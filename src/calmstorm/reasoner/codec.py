"""A Hugging Face tokenizer as a `TokenCodec`: adds no special tokens, recognises none in text, cleans nothing up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenizerCodec:
    """Text to ids and back with a `transformers` tokenizer.

    Text that only looks like a special token ("<|im_end|>" printed by a script) is encoded as ordinary text, so that
    execution output and hints cannot end a turn.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.size = len(tokenizer)
        """Ids are below this."""
        self.special_ids = frozenset(tokenizer.all_special_ids)
        """Ids of special tokens, such as those that end a turn."""

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, with no special tokens added or recognised."""
        ids = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [int(token) for token in ids]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Returns the text of the ids; special tokens are rendered as their text."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        if backend is not None:  # the wrapper around it costs five times the work
            return str(backend.decode(list(token_ids), skip_special_tokens=False))
        return str(
            self.tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a model directory or hub id.

    Raises:
        InputError: There is none.
        MissingExtraError: `transformers` is not installed.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("transformers", "pocket") from error
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source)
    except Exception as error:  # files of a tokenizer that are broken raise almost anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{source} has no tokenizer ({reason}): check the path or name") from error
    return tokenizer


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a model's on the Hugging Face hub, and is no path that exists."""
    organisation, separator, model = name.partition("/")
    shaped = bool(organisation and separator and model) and "/" not in model and not name.startswith((".", "~"))
    return shaped and not Path(name).exists()


def check_source(model: str | Path) -> str:
    """Returns a model directory or hub id as given.

    A path must exist, so that a typing error in it does not become a request to the hub.

    Raises:
        InputError: It is neither.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return str(path)
    text = str(model)
    if is_hub_id(text):
        return text
    rule = "it must be a model directory or a hub id such as Qwen/Qwen3-4B"
    raise InputError(f"{text} is not a directory; {rule}: check the path")
