"""Reads a response as prose, code blocks and output blocks, with offsets.

Works on the text alone, so that responses written elsewhere can be read as well as our own trajectories. Passages
that an Intervener wrote can be masked: they stay in place but hold no cues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from calmstorm.records import Author, Span, SpanKind

_FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:(^[ \t]*```[ \t]*(?:\n|\Z))|\Z)", re.DOTALL | re.MULTILINE)
_SOLVER_CALL = re.compile(
    r"\bn?solve(?:set)?\s*\(|\.optimize\s*\(|\blinprog\s*\(|\bmilp\s*\(|\b(?:minimize|maximize)(?:_scalar)?\s*\("
    r"|linear_sum_assignment\s*\(|\.run\s*\(\s*\)|\.Solve\s*\("
)
_PYTHON = re.compile(r"^(?:import \w|from [\w.]+ import\b|def \w+\(|print\()", re.MULTILINE)
_LANGUAGE_FENCE = re.compile(r"^[ \t]*```[ \t]*\w", re.MULTILINE)


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


def segments(response: str) -> list[Segment]:
    """Splits a response; the segments cover it without gaps."""
    found: list[Segment] = []
    position = 0
    searched = 0
    while match := _FENCE.search(response, searched):
        language, body, closed = match.group(1).lower(), match.group(2), match.group(3) is not None
        gap = response[position : match.start()]
        after_code = _last_kind(found) is SpanKind.CODE and not gap.strip()
        if not language and (_LANGUAGE_FENCE.search(body) or not (closed or after_code)):
            searched = match.start(2)  # a stray fence, as models leave behind after output: it hides nothing
            continue
        if gap:
            found.append(Segment(SpanKind.TEXT, position, match.start(), gap, position))
        found.append(Segment(_kind(language, body, after_code), match.start(), match.end(), body, match.start(2)))
        position = searched = match.end()
    if position < len(response):
        found.append(Segment(SpanKind.TEXT, position, len(response), response[position:], position))
    return found


def _last_kind(found: list[Segment]) -> SpanKind | None:
    return found[-1].kind if found else None


def _kind(language: str, body: str, after_code: bool) -> SpanKind:
    """What a fenced block is; one that names no language is told by what it holds and where it stands."""
    if language in ("python", "py", "python3") or (not language and _PYTHON.search(body)):
        return SpanKind.CODE
    if language == "output" or (after_code and language in ("", "text", "console", "stdout", "plaintext")):
        return SpanKind.OUTPUT
    return SpanKind.TEXT


def without_hints(spans: Iterable[Span]) -> str:
    """Returns the response with every hint's words blanked out; offsets, fences and line breaks stay."""
    return "".join(_blank(span.text) if span.author is Author.INTERVENER else span.text for span in spans)


def _blank(text: str) -> str:
    head, fence, tail = text.partition("```")
    return re.sub(r"[^\n]", " ", head) + fence + tail


@dataclass(frozen=True)
class Line:
    """A line of prose with its place in the response."""

    start: int
    end: int
    """Offset after its line break."""
    text: str


def lines(segment: Segment) -> list[Line]:
    """Returns the non-empty lines of a prose segment."""
    found = []
    position = segment.body_start
    for text in segment.body.splitlines(keepends=True):
        if text.strip():
            found.append(Line(position, position + len(text), text.strip()))
        position += len(text)
    return found
