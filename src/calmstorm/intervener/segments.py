"""Reads a response as prose, code blocks and output blocks, with offsets.

Works on the text alone, so that responses written elsewhere can be read as well as our own trajectories. Passages
that an Intervener wrote can be masked: they stay in place but hold no cues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calmstorm.records import Author, Span, SpanKind
from calmstorm.rollout.fences import PYTHON, fences

_SOLVER_CALL = re.compile(
    r"\bn?solve(?:set)?\s*\(|\.optimize\s*\(|\blinprog\s*\(|\bmilp\s*\(|\b(?:minimize|maximize)(?:_scalar)?\s*\("
    r"|linear_sum_assignment\s*\(|\.run\s*\(\s*\)|\.Solve\s*\("
)
_PYTHON_STATEMENT = re.compile(r"^(?:import \w|from [\w.]+ import\b|def \w+\(|print\()", re.MULTILINE)


@dataclass(frozen=True)
class Segment:
    """A stretch of a response."""

    kind: SpanKind
    """TEXT, CODE or OUTPUT."""
    start: int
    """Offset of its first character, fence included."""
    end: int
    body: str
    """The prose, or what stands between the fences."""
    body_start: int
    """Offset of `body`."""

    @property
    def solves(self) -> bool:
        """Whether a code segment calls a solver."""
        return self.kind is SpanKind.CODE and _SOLVER_CALL.search(self.body) is not None


@dataclass(frozen=True)
class Line:
    """A line with its place in the response."""

    start: int
    end: int
    """Offset after its line break."""
    text: str


def segments(response: str) -> list[Segment]:
    """Splits a response; the segments cover it without gaps."""
    parts: list[Segment] = []
    position = 0
    for fence in fences(response):
        gap = response[position : fence.start]
        after_code = bool(parts) and parts[-1].kind is SpanKind.CODE and not gap.strip()
        if fence.close is None and not fence.language and not after_code:
            break  # a stray fence, as models leave behind after output: it hides nothing
        if gap:
            parts.append(Segment(SpanKind.TEXT, position, fence.start, gap, position))
        body = response[fence.body : fence.end if fence.close is None else fence.close]
        parts.append(Segment(_kind(fence.language, body, after_code), fence.start, fence.end, body, fence.body))
        position = fence.end
    if position < len(response):
        parts.append(Segment(SpanKind.TEXT, position, len(response), response[position:], position))
    return parts


def _kind(language: str, body: str, after_code: bool) -> SpanKind:
    """What a fenced block is; one that names no language is told by what it holds and where it stands."""
    if language in PYTHON or (not language and _PYTHON_STATEMENT.search(body)):
        return SpanKind.CODE
    if language == "output" or (after_code and language in ("", "text", "console", "stdout", "plaintext")):
        return SpanKind.OUTPUT
    return SpanKind.TEXT


def of_kind(parts: Iterable[Segment], kind: SpanKind) -> list[Segment]:
    """Returns the segments of one kind."""
    return [part for part in parts if part.kind is kind]


def lines(segment: Segment) -> list[Line]:
    """Returns the non-empty lines of a prose segment, stripped."""
    listed = []
    position = segment.body_start
    for text in segment.body.splitlines(keepends=True):
        if text.strip():
            listed.append(Line(position, position + len(text), text.strip()))
        position += len(text)
    return listed


def prose_before(parts: Sequence[Segment], limit: int) -> list[Line]:
    """Returns the non-empty lines of the prose segments that begin before an offset."""
    return [line for part in of_kind(parts, SpanKind.TEXT) if part.start < limit for line in lines(part)]


def without_hints(spans: Iterable[Span]) -> str:
    """Returns the response with every hint's words blanked out; offsets, fences and line breaks stay."""
    return "".join(_blank(span.text) if span.author is Author.INTERVENER else span.text for span in spans)


def _blank(text: str) -> str:
    head, fence, tail = text.partition("```")
    return re.sub(r"[^\n]", " ", head) + fence + tail
