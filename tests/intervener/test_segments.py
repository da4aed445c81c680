from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmstorm.intervener.segments import lines, segments, without_hints
from calmstorm.records import Author, Span, SpanKind

TEXT, CODE, OUTPUT = SpanKind.TEXT, SpanKind.CODE, SpanKind.OUTPUT


def kinds(response: str) -> list[SpanKind]:
    return [part.kind for part in segments(response)]


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("a\n```python\nx\n```\n```output\n1\n```\nb", [TEXT, CODE, OUTPUT, TEXT]),
        ("```py\nx\n```\n\n```\n1\n```\n", [CODE, TEXT, OUTPUT]),
        ("```\nimport pulp\nprint(1)\n```\n```\n1\n```\n", [CODE, OUTPUT]),
        ("```\nmax 3x\n```\nso", [TEXT, TEXT]),
        ("```text\n4 + 3 = 7\n```\n", [TEXT]),
        ("```python\nx\n```\n```text\n7\n```\n", [CODE, OUTPUT]),
        ("a\n```\n\nb\n```python\nx\n```\n", [TEXT, CODE]),
        ("```python\nx\n```\n```output\n1\n```\n```\nand on", [CODE, OUTPUT, TEXT]),
        ("```python\nnever closed", [CODE]),
        ("  ```python\n  x\n  ```\nb", [CODE, TEXT]),
        ("", []),
        ("```python", [TEXT]),
    ],
)
def test_fences_tell_what_a_segment_is(response, expected):
    assert kinds(response) == expected


PIECES = ["a", "\n", "```", "```python\n", "```output\n", "x = 1\n", " ", "```\n", "import y\n"]


@given(st.lists(st.sampled_from(PIECES)))
def test_segments_cover_a_response_without_gaps(pieces):
    response = "".join(pieces)
    position = 0
    for part in segments(response):
        assert part.start == position
        assert part.start <= part.body_start <= part.end
        assert response[part.body_start :].startswith(part.body)
        position = part.end
    assert position == len(response)


@given(st.lists(st.sampled_from(["a b\n", "\n", "```text\n", "```\n", "  c\n", "d"])))
def test_lines_stand_where_they_say(pieces):
    response = "".join(pieces)
    for part in segments(response):
        for line in lines(part):
            assert response[line.start : line.end].strip() == line.text


def test_hints_are_blanked_but_keep_their_place_and_their_fence():
    spans = [
        Span(author=Author.REASONER, kind=TEXT, text="I see.\n"),
        Span(author=Author.INTERVENER, kind=SpanKind.HINT, text="by hand?\n\n```python\n"),
        Span(author=Author.REASONER, kind=CODE, text="print(1)\n```\n"),
    ]
    masked = without_hints(spans)
    assert masked == "I see.\n        \n\n```python\nprint(1)\n```\n"
    assert kinds(masked) == [TEXT, CODE]


def test_a_response_full_of_stray_fences_is_read_in_time():
    started = time.monotonic()
    assert segments("```\n```x\n" * 3000)
    assert time.monotonic() - started < 5
