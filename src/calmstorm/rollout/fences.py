"""Fenced blocks of a response: the one parser that the rollout loop, grading, the Interveners and reports share.

A fence is a line of at least three backticks or tildes; it closes at a bare line of the same marker. A bare fence that
a fence with a language follows before it closes is stray, as models leave behind after output, and opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

OPENING = "```python\n"
"""What opens a block that is run, as prompts ask for it."""
CLOSING = "```\n"
"""What closes a code block; generation stops there."""
PYTHON = frozenset({"python", "py", "python3"})
"""Languages whose blocks are run."""

_FENCE_LINE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*(\w*)([^`\n]*)(?:\n|\Z)", re.MULTILINE)
_LEADING_FENCE = re.compile(r"\A\s*```\w*[ \t]*\n")
_TRAILING_FENCE = re.compile(r"\n?```\s*\Z")


class Fence(NamedTuple):
    """A fenced block; all numbers are offsets in the text, characters."""

    language: str
    """First word behind the opening marker, in lower case; "" for a bare fence."""
    start: int
    """Of the opening line."""
    body: int
    """Of what stands between the fences."""
    close: int | None
    """Of the closing line; None while the block is open."""
    end: int
    """Behind the closing line; the end of the text while the block is open."""

    @property
    def is_python(self) -> bool:
        """Whether the block holds a script."""
        return self.language in PYTHON


def fences(text: str) -> Iterator[Fence]:
    """Yields the fenced blocks of a text in order; only the last can be open."""
    opening: re.Match[str] | None = None
    for line in _FENCE_LINE.finditer(text):
        info = line[2] + line[3].strip()
        if opening is not None and not info and line[1].startswith(opening[1]):
            yield Fence(opening[2].lower(), opening.start(), opening.end(), line.start(), line.end())
            opening = None
        elif line[0].endswith("\n") and (opening is None or (info and not opening[2] + opening[3].strip())):
            opening = line
    if opening is not None:
        yield Fence(opening[2].lower(), opening.start(), opening.end(), None, len(text))


def unrun_code(tail: str) -> str | None:
    """Returns the script of the closed Python block that `tail`, the response since the last output, ends with."""
    fence = _last_fence(tail)
    if fence is None or fence.close is None or not fence.is_python:
        return None
    if tail[fence.end :].strip() or not tail[: fence.end].endswith("\n"):
        return None
    return tail[fence.body : fence.close]


def opened_python(tail: str) -> int | None:
    """Returns where the Python block that `tail` ends in or with was opened; None when it ends in neither."""
    fence = _last_fence(tail)
    if fence is None or not fence.is_python or (fence.close is not None and tail[fence.end :].strip()):
        return None
    return fence.start


def count_code_blocks(text: str) -> int:
    """Returns the number of Python blocks that a response opens, also where it opens one inside another."""
    return sum(line[2].lower() in PYTHON for line in _FENCE_LINE.finditer(text))


def script_of(code: str) -> str:
    """Returns the text of a code span without its fences; a hint may have opened the block before the span."""
    return _TRAILING_FENCE.sub("", _LEADING_FENCE.sub("", code)).strip("\n")


def _last_fence(text: str) -> Fence | None:
    last = None
    for last in fences(text):  # noqa: B007  the last one is what is wanted
        pass
    return last
