"""Reads a response as prose, code blocks and output blocks, with offsets.

Works on the text alone, so that responses written elsewhere can be read as well as our own trajectories. Passages
that an Intervener wrote can be masked: they stay in place but hold no cues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from calmstorm.records import Author, Span, SpanKind

_FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```[ \t]*(?:\n|\Z)|\Z)", re.DOTALL | re.MULTILINE)
_SOLVER_CALL = re.compile(
    r"\.solve\s*\(|\.optimize\s*\(|\blinprog\s*\(|\bmilp\s*\(|\bminimize\s*\(|linear_sum_assignment\s*\(|\.run\s*\(\s*\)"
    r"|\.Solve\s*\(|\bnsolve\s*\("
)


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

    @property
    def solves(self) -> bool:
        """Whether a code segment calls a solver."""
        return self.kind is SpanKind.CODE and _SOLVER_CALL.search(self.body) is not None


def segments(response: str) -> list[Segment]:
    """Splits a response; the segments cover it without gaps."""
    found: list[Segment] = []
    position = 0
    for match in _FENCE.finditer(response):
        if match.start() > position:
            found.append(Segment(SpanKind.TEXT, position, match.start(), response[position : match.start()]))
        language = match.group(1).lower()
        previous = found[-1] if found else None
        follows_code = previous is not None and (
            previous.kind is SpanKind.CODE
            or (
                previous.kind is SpanKind.TEXT
                and not previous.body.strip()
                and len(found) > 1
                and found[-2].kind is SpanKind.CODE
            )
        )
        if language in ("python", "py", "python3"):
            kind = SpanKind.CODE
        elif language in ("output", "text", "console", "stdout") or (not language and follows_code):
            kind = SpanKind.OUTPUT
        else:
            kind = SpanKind.TEXT
        found.append(Segment(kind, match.start(), match.end(), match.group(2)))
        position = match.end()
    if position < len(response):
        found.append(Segment(SpanKind.TEXT, position, len(response), response[position:]))
    return found


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
    position = segment.start
    for text in segment.body.splitlines(keepends=True):
        if text.strip():
            found.append(Line(position, position + len(text), text.strip()))
        position += len(text)
    return found
