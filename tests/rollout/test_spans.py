from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmstorm.errors import InputError
from calmstorm.reasoner.scripted import ByteCodec
from calmstorm.records import Author, Span, SpanKind
from calmstorm.rollout.spans import RL_AUTHORS, SFT_AUTHORS, cut, make_span, response_ids, response_mask, split


class PairCodec:
    """Two bytes to a token, so that cuts fall inside tokens and characters straddle them."""

    def encode(self, text: str) -> list[int]:
        data = text.encode()
        return [
            int.from_bytes(data[i : i + 2], "big") + (0 if i + 1 < len(data) else 1 << 20)
            for i in range(0, len(data), 2)
        ]

    def decode(self, token_ids) -> str:
        parts = [(i - (1 << 20)).to_bytes(1, "big") if i >= 1 << 20 else i.to_bytes(2, "big") for i in token_ids]
        return b"".join(parts).decode(errors="replace")


PAIRS = PairCodec()


def written(text: str, codec=PAIRS, kind: SpanKind = SpanKind.TEXT) -> Span:
    ids = tuple(codec.encode(text))
    return Span(
        author=Author.REASONER, kind=kind, text=text, token_ids=ids, logprobs=tuple(-0.1 * i for i in range(len(ids)))
    )


def drawn(span: Span) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Token ids and log-probabilities of a span that has them."""
    assert span.token_ids is not None
    assert span.logprobs is not None
    return span.token_ids, span.logprobs


def test_cut_keeps_whole_tokens_and_retokenises_the_torn_one_alone():
    span = written("abcdefg")
    ids, logprobs = drawn(span)
    head, torn = cut([span], 5, PAIRS)
    assert (head.text, head.token_ids, head.logprobs) == ("abcd", ids[:2], logprobs[:2])
    assert (torn.text, torn.token_ids, torn.logprobs) == ("e", tuple(PAIRS.encode("e")), None)
    assert torn.author is Author.REASONER


def test_cut_changes_no_token_when_it_falls_on_a_boundary():
    span = written("abcdef")
    ids, logprobs = drawn(span)
    assert cut([span], 4, PAIRS) == (
        span.model_copy(update={"text": "abcd", "token_ids": ids[:2], "logprobs": logprobs[:2]}),
    )


def test_cut_never_splits_a_character():
    span = written("a€b")  # the euro sign is three bytes, spread over two tokens
    kept = cut([span], 2, PAIRS)
    assert "".join(part.text for part in kept) == "a€"
    assert PAIRS.decode(response_ids(kept)) == "a€"
    assert [part.text for part in cut([span], 1, PAIRS)] == ["a"]


def test_cut_goes_through_later_spans_and_drops_what_is_beyond():
    spans = [written("plan\n"), make_span(Author.INTERPRETER, SpanKind.OUTPUT, "42\n", PAIRS), written("so it is 42")]
    kept = cut(spans, 8 + 6, PAIRS)
    assert kept[:2] == tuple(spans[:2])
    assert "".join(part.text for part in kept) == "plan\n42\nso it "
    assert cut(spans, 0, PAIRS) == ()
    assert cut(spans, 5, PAIRS) == (spans[0],)


def test_cut_drops_the_end_of_turn_token_when_nothing_else_is_cut():
    codec = ByteCodec()
    ids = (*codec.encode("done"), ByteCodec.END_OF_TURN)
    span = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="done", token_ids=ids, logprobs=(0.0,) * 5)
    (kept,) = cut([span], 4, codec)
    assert kept.text == "done"
    assert kept.token_ids == tuple(codec.encode("done"))
    assert len(drawn(kept)[1]) == 4


def test_cut_works_on_text_when_there_are_no_token_ids():
    span = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="abcdef")
    assert [part.text for part in cut([span], 3, None)] == ["abc"]


def test_cut_tears_the_first_token_when_the_position_falls_inside_it():
    (torn,) = cut([written("abcd")], 1, PAIRS)
    assert (torn.text, torn.token_ids, torn.logprobs) == ("a", tuple(PAIRS.encode("a")), None)


def test_text_without_token_ids_is_cut_and_split_by_characters_when_there_is_a_codec():
    first, second = (Span(author=Author.REASONER, kind=SpanKind.TEXT, text=text) for text in ("abc", "def"))
    assert cut([first, second], 3, PAIRS) == (first,)
    assert [part.text for part in cut([first, second], 4, PAIRS)] == ["abc", "d"]
    assert [part and part.text for part in split(first, 1, PAIRS)] == ["a", "bc"]
    assert split(first, 0, PAIRS) == (None, first)
    assert split(first, 3, PAIRS) == (first, None)


def test_split_gives_no_empty_part_when_it_falls_on_an_end():
    span = written("abcd")
    assert split(span, 0, PAIRS) == (None, span)
    assert split(span, 1, PAIRS) == (None, span)
    assert split(span, 4, PAIRS) == (span, None)


def test_the_end_of_turn_token_goes_with_what_follows_when_a_span_is_split():
    codec = ByteCodec()
    span = Span(
        author=Author.REASONER, kind=SpanKind.TEXT, text="ab", token_ids=(*codec.encode("ab"), ByteCodec.END_OF_TURN)
    )
    head, tail = split(span, 2, codec)
    assert head is not None
    assert tail is not None
    assert (head.text, head.token_ids) == ("ab", tuple(codec.encode("ab")))
    assert (tail.text, tail.token_ids) == ("", (ByteCodec.END_OF_TURN,))


def test_cut_refuses_a_negative_position():
    with pytest.raises(InputError, match="position is -1"):
        cut([], -1, None)


texts = st.text("ab€😀", min_size=1, max_size=12) | st.text(min_size=1, max_size=12)


@given(st.lists(texts, max_size=4), st.integers(0, 50))
def test_cut_keeps_exactly_the_text_before_the_position(texts, position):
    spans = [written(text) for text in texts]
    kept = cut(spans, position, PAIRS)
    expected = "".join(texts)[:position]
    assert "".join(part.text for part in kept) == expected
    assert "".join(PAIRS.decode(response_ids([part])) for part in kept) == expected
    assert all(part.logprobs is None or len(part.logprobs) == len(response_ids([part])) for part in kept)


@given(texts, st.integers(0, 12))
def test_split_loses_neither_text_nor_tokens(text, position):
    span = written(text)
    parts = [part for part in split(span, min(position, len(text)), PAIRS) if part is not None]
    assert "".join(part.text for part in parts) == text
    assert response_ids(parts) == span.token_ids
    assert tuple(logprob for part in parts for logprob in drawn(part)[1]) == span.logprobs


def test_response_mask_marks_the_reasoners_tokens_only():
    codec = ByteCodec()
    spans = [
        written("ab", codec),
        make_span(Author.INTERPRETER, SpanKind.OUTPUT, "7", codec),
        make_span(Author.INTERVENER, SpanKind.HINT, "hm", codec),
        written("c", codec),
    ]
    assert response_ids(spans) == tuple(codec.encode("ab7hmc"))
    assert response_mask(spans, RL_AUTHORS) == (True, True, False, False, False, True)


def test_response_mask_of_fine_tuning_marks_hints_too_but_never_output():
    codec = ByteCodec()
    spans = [
        make_span(Author.INTERVENER, SpanKind.HINT, "h", codec),
        make_span(Author.INTERPRETER, SpanKind.OUTPUT, "7", codec),
        written("c", codec),
    ]
    assert response_mask(spans, SFT_AUTHORS) == (True, False, True)


def test_response_mask_refuses_spans_without_token_ids():
    with pytest.raises(InputError, match="no token ids"):
        response_mask([Span(author=Author.REASONER, kind=SpanKind.TEXT, text="x")], RL_AUTHORS)
    with pytest.raises(InputError, match="no token ids"):
        response_ids([Span(author=Author.REASONER, kind=SpanKind.TEXT, text="x")])
