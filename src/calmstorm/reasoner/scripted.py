"""A Reasoner with a script: deterministic completions, so that every pipeline runs without a model or a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from calmstorm.errors import InfrastructureError
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling, TokenCodec

Script = Callable[[Prefix, Sampling], str]
"""Returns what to write next, given everything so far; the turn ends where the returned text does."""


class ByteCodec:
    """One token per byte of UTF-8, 0 to 255, and one for the end of a turn."""

    END_OF_TURN = 256

    def encode(self, text: str) -> list[int]:
        """Returns the bytes."""
        return list(text.encode())

    def decode(self, token_ids: Sequence[int]) -> str:
        """Returns the text; bytes that make no character become U+FFFD."""
        parts = bytes(i for i in token_ids if i < self.END_OF_TURN).decode(errors="replace")
        return parts + "<|im_end|>" * sum(i == self.END_OF_TURN for i in token_ids)


class ScriptedReasoner:
    """Gives canned completions; keeps to stop strings and `max_tokens`.

    Each call of `generate` takes the next text of a sequence, or asks a function. What follows a stop string within a
    text is dropped: the next call gets the next text. Concurrency: a sequence is handed out in the order of calls.
    """

    def __init__(
        self,
        script: Iterable[str] | Script,
        *,
        codec: TokenCodec | None = None,
        end_of_turn: int = ByteCodec.END_OF_TURN,
        name: str = "scripted",
    ) -> None:
        """Takes the script.

        Args:
            script: Texts, one per call, or a function of the prefix.
            codec: Gives completions token ids and log-probabilities (0 each); None gives text only.
            end_of_turn: Id that ends a turn, where there is a codec.
            name: Name for reports.
        """
        self._script = script if callable(script) else None
        self._texts = iter(()) if callable(script) else iter(script)
        self._codec = codec
        self._end_of_turn = end_of_turn
        self._name = name

    @property
    def name(self) -> str:
        """The given name."""
        return self._name

    @property
    def codec(self) -> TokenCodec | None:
        """The given codec."""
        return self._codec

    def render(self, question: str) -> Prefix:
        """Returns the question and a newline."""
        text = question + "\n"
        return Prefix(text=text, token_ids=None if self._codec is None else tuple(self._codec.encode(text)))

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        """Returns the next text.

        Raises:
            InfrastructureError: The sequence is used up.
        """
        text = self._next(prefix, sampling)
        ends = [text.index(s) + len(s) for s in stop if s in text]
        reason = CompletionStop.STOP_STRING if ends else CompletionStop.END_OF_TURN
        text = text[: min(ends)] if ends else text
        if self._codec is None:
            return Completion(text=text, stop=reason)
        ids = self._codec.encode(text)
        if reason is CompletionStop.END_OF_TURN:
            ids = [*ids, self._end_of_turn]
        if len(ids) > max_tokens:
            ids, reason = ids[:max_tokens], CompletionStop.LENGTH
            text = self._codec.decode(ids)
        return Completion(text=text, token_ids=tuple(ids), logprobs=(0.0,) * len(ids), stop=reason)

    def _next(self, prefix: Prefix, sampling: Sampling) -> str:
        if self._script is not None:
            return self._script(prefix, sampling)
        try:
            return next(self._texts)
        except StopIteration:
            raise InfrastructureError(
                f"the script of {self._name} is used up: give it as many texts as calls"
            ) from None

    async def close(self) -> None:
        """Nothing to free."""
