"""Spans of a response: made, masked and cut without ever re-tokenising what the model saw.

Token ids are the truth: a cut keeps whole tokens as they are; only where it falls inside a token is the kept part of
that one token tokenised anew, alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from calmstorm.errors import InputError
from calmstorm.reasoner.protocol import TokenCodec
from calmstorm.records import Author, Span, SpanKind

SFT_AUTHORS = frozenset({Author.REASONER, Author.INTERVENER})
"""Whose tokens fine-tuning learns: hints too, since the model is to think them by itself (paper section 3.3)."""
RL_AUTHORS = frozenset({Author.REASONER})
"""Whose tokens reinforcement learns: what the policy drew."""


def make_span(author: Author, kind: SpanKind, text: str, codec: TokenCodec | None) -> Span:
    """Returns a span of text that the Reasoner did not write: tokenised alone, where there is a codec."""
    return Span(author=author, kind=kind, text=text, token_ids=None if codec is None else tuple(codec.encode(text)))


def response_ids(spans: Iterable[Span]) -> tuple[int, ...]:
    """Returns the token ids of a response.

    Raises:
        InputError: A span is text only.
    """
    return tuple(token for span in spans for token in _ids(span))


def response_mask(spans: Iterable[Span], authors: Collection[Author]) -> tuple[bool, ...]:
    """Returns, for every token of a response, whether one of `authors` wrote it.

    Raises:
        InputError: A span is text only.
    """
    return tuple(span.author in authors for span in spans for _ in _ids(span))


def _ids(span: Span) -> tuple[int, ...]:
    if span.token_ids is None:
        raise InputError(
            f"a {span.kind.value} span of the {span.author.value} has no token ids; training never re-encodes text: "
            "roll out again with a local model directory or a server that returns token ids"
        )
    return span.token_ids


def whole_tokens(token_ids: Sequence[int], text: str, position: int, codec: TokenCodec) -> tuple[int, int]:
    """Finds how many leading tokens lie wholly before a position of their text.

    Args:
        token_ids: ids whose decoding begins with `text` (an end-of-turn token may follow it).
        text: what they say.
        position: characters of `text` to stay within.
        codec: how to read them.

    Returns:
        `(tokens, characters)`: the largest number of tokens that end at or before `position` on a whole character, and
        where they end.
    """
    low, high = 0, len(token_ids)
    while low < high:  # decoded length grows with the number of tokens
        middle = (low + high + 1) // 2
        if len(codec.decode(token_ids[:middle])) <= position:
            low = middle
        else:
            high = middle - 1
    while low:
        decoded = codec.decode(token_ids[:low])
        if text.startswith(decoded):
            return low, len(decoded)
        low -= 1  # ends inside a character, which decodes to something else
    return 0, 0


def split(span: Span, position: int, codec: TokenCodec | None) -> tuple[Span | None, Span | None]:
    """Parts a span at the last token boundary at or before `position`; an empty part is None."""
    if span.token_ids is None or codec is None:
        return _piece(span, 0, position, None), _piece(span, position, len(span.text), None)
    tokens, characters = whole_tokens(span.token_ids, span.text, position, codec)
    head = _piece(span, 0, characters, (0, tokens)) if tokens else None
    tail = _piece(span, characters, len(span.text), (tokens, len(span.token_ids)))
    return head, tail if tokens < len(span.token_ids) else None


def through(span: Span, position: int, codec: TokenCodec | None) -> Span:
    """Keeps a span up to a character position and the whole of the token that holds it, so that none is made anew.

    An end-of-turn token behind it is dropped.
    """
    if span.token_ids is None or codec is None:
        return span.model_copy(update={"text": span.text[:position]})
    tokens, characters = whole_tokens(span.token_ids, span.text, position, codec)
    while characters < position and tokens < len(span.token_ids):
        tokens += 1
        decoded = codec.decode(span.token_ids[:tokens])
        if span.text.startswith(decoded):
            characters = len(decoded)
    return _piece(span, 0, characters, (0, tokens)) or span


def cut(spans: Sequence[Span], position: int, codec: TokenCodec | None) -> tuple[Span, ...]:
    """Keeps the response up to a character position.

    Whole tokens are kept as they were, with their log-probabilities. Where the position falls inside a token, the kept
    part of its text follows as a span of its own, tokenised anew and without log-probabilities: nobody drew those
    tokens. An end-of-turn token is never kept.

    Args:
        spans: the response.
        position: offset in its text, characters; at or beyond the end everything but an end-of-turn token is kept.
        codec: needed where the spans have token ids.

    Raises:
        InputError: the position is negative.
    """
    if position < 0:
        raise InputError(f"position is {position}; it must be >= 0: give an offset into the response text")
    kept: list[Span] = []
    for span in spans:
        if position <= 0:
            break
        kept += _head(span, position, codec)
        position -= len(span.text)
    return tuple(kept)


def _head(span: Span, position: int, codec: TokenCodec | None) -> list[Span]:
    length = min(position, len(span.text))
    if span.token_ids is None or codec is None:
        return [span.model_copy(update={"text": span.text[:length]})]
    tokens, characters = whole_tokens(span.token_ids, span.text, length, codec)
    kept = _piece(span, 0, characters, (0, tokens)) if tokens else None
    rest = span.text[characters:length]
    again = make_span(span.author, span.kind, rest, codec) if rest else None
    return [part for part in (kept, again) if part is not None]


def _piece(span: Span, start: int, end: int, tokens: tuple[int, int] | None) -> Span | None:
    if tokens is None:
        return span.model_copy(update={"text": span.text[start:end]}) if end > start else None
    first, last = tokens
    return span.model_copy(
        update={
            "text": span.text[start:end],
            "token_ids": (span.token_ids or ())[first:last],
            "logprobs": None if span.logprobs is None else span.logprobs[first:last],
        }
    )
