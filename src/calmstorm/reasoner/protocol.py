"""The interface to every model: what a Reasoner is asked, and what it answers.

A Reasoner continues a prefix until it ends its turn, writes a stop string or runs out of tokens. It knows nothing of
code execution, hints or problems: those are the business of `calmstorm.rollout` and above.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol, runtime_checkable

from calmstorm.records import Record


class Sampling(Record):
    """How to draw tokens. The defaults are the paper's (section 4.1)."""

    temperature: float = 0.6
    """0 means greedy."""
    top_p: float = 0.95
    top_k: int = 0
    """Only so many of the most probable tokens are drawn from; 0 means all."""
    min_p: float = 0.0
    """Tokens less probable than this share of the most probable one are not drawn; 0 means all are."""
    seed: int | None = None
    """The same seed and prefix give the same completion, whatever else is decoded alongside, as far as floating point
    allows."""


class CompletionStop(StrEnum):
    """Why `generate` returned."""

    END_OF_TURN = "end_of_turn"
    STOP_STRING = "stop_string"
    LENGTH = "length"


class Prefix(Record):
    """Everything the model has seen so far: rendered prompt and response.

    Where the Reasoner has token ids, `token_ids` is what counts, and `text` only describes it.
    """

    text: str
    token_ids: tuple[int, ...] | None = None


class Completion(Record):
    """What the model wrote.

    `text` ends with the stop string where one was hit (it may run past it within the last token), and does not contain
    the end-of-turn token. `token_ids` do contain the end-of-turn token, so that training sees it.
    """

    text: str
    token_ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each token under the distribution it was drawn from, temperature applied and, for
    `top_p < 1`, before truncation."""
    stop: CompletionStop
    tokens: int | None = None
    """How many tokens were written, where there are no `token_ids` and the server says so."""


@runtime_checkable
class TokenCodec(Protocol):
    """Text to token ids and back; `decode(encode(text)) == text`, and nothing is added."""

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, with no special tokens added."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """Returns the text of the ids; special tokens are rendered as their text."""
        ...


class Reasoner(Protocol):
    """A model that can be asked to go on from a prefix.

    Concurrency: `generate` may be awaited by many tasks of one event loop at once, and implementations are expected to
    batch them. Lifecycle: `close` is called once, after which `generate` must not be.
    """

    @property
    def name(self) -> str:
        """Name for reports: a directory, hub id or URL with model."""
        ...

    @property
    def codec(self) -> TokenCodec | None:
        """The tokenizer, or None when only text goes in and out."""
        ...

    def render(self, question: str) -> Prefix:
        """Returns the prompt for a problem text, up to where the response begins."""
        ...

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        """Continues `prefix`.

        Raises:
            InfrastructureError: The engine or server failed.
        """
        ...

    async def close(self) -> None:
        """Frees what the Reasoner holds."""
        ...
