from __future__ import annotations

import random
import time

import pytest

from calmstorm.curation.modification import token_modification
from calmstorm.records import Author, Span, SpanKind, Stage, StopReason, Trajectory


def attempt(*pieces: list[int] | str) -> Trajectory:
    spans = (
        Span(
            author=Author.REASONER,
            kind=SpanKind.TEXT,
            text=piece if isinstance(piece, str) else " ".join(map(str, piece)),
            token_ids=None if isinstance(piece, str) else tuple(piece),
        )
        for piece in pieces
    )
    return Trajectory(
        problem_id="p", sample=0, stage=Stage.CURATION, spans=tuple(spans), stop_reason=StopReason.FINISHED
    )


@pytest.mark.parametrize(
    ("first", "golden", "expected"),
    [
        ([[1, 2, 3, 4]], [[1, 2, 3, 4]], 0.0),
        ([[1, 2], [3, 4]], [[1, 2, 3], [4]], 0.0),  # where spans end does not count
        ([[1, 2, 3, 4]], [[1, 9, 3, 4]], 0.25),
        ([[1, 2, 3, 4]], [[1, 2, 8, 3, 4]], 0.2),
        ([[1, 2, 3, 4]], [[1, 2]], 0.5),
        ([[1, 2]], [[3, 4]], 1.0),
        ([[]], [[]], 0.0),
        (["abcd"], ["abXd"], 0.25),
        (["abcd"], ["ab", "cd"], 0.0),
    ],
)
def test_it_is_the_edit_distance_over_the_longer_response(first, golden, expected):
    assert token_modification(attempt(*first), attempt(*golden)) == pytest.approx(expected)
    assert token_modification(attempt(*golden), attempt(*first)) == pytest.approx(expected)


def test_characters_count_where_one_of_the_two_has_no_ids():
    assert token_modification(attempt([1, 2]), attempt("1 2")) == 0.0
    assert token_modification(attempt([1, 2]), attempt("1 3")) == pytest.approx(1 / 3)


def test_responses_of_full_length_are_compared_in_a_moment():
    rng = random.Random(1)
    first = [rng.randrange(150_000) for _ in range(16_384)]
    golden = first[:8_000] + [rng.randrange(150_000) for _ in range(8_384)]
    began = time.process_time()
    assert token_modification(attempt(first), attempt(golden)) == pytest.approx(8_384 / 16_384, abs=0.01)
    assert time.process_time() - began < 5.0
