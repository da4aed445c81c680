"""Fenced blocks of a response: the one parser that the rollout loop, grading, the Interveners and reports share.

A fence is a line of at least three backticks or tildes, indented or behind the mark of a list item; it closes at a
line of nothing but the same marker. A fence that is open when one with more to say follows is stray and opens nothing:
a bare one, as models leave behind after output, before one with a language; one of any other language before one of
Python.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

OPENING = "```python\n"
"""What opens a block that is run, as prompts ask for it."""
CLOSINGS = ("```\n", "``` \n", "```\r\n", "~~~\n")
"""What closes a code block; generation stops there. Four, the most that some servers take: rarer closings are found in
what was written instead (`first_closed`)."""
PYTHON = frozenset({"python", "py", "python3"})
"""Languages whose blocks are run."""

_FENCE_LINE = re.compile(
    r"^([ \t]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?)(`{3,}|~{3,})[ \t]*(\w*)([^`\n]*)(?:\n|\Z)", re.MULTILINE
)
_TRAILING_FENCE = re.compile(r"(?:\A|\n)[ \t]*(?:`{3,}|~{3,})\s*\Z")


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
        if opening is not None and _closes(line, opening):
            yield Fence(opening[3].lower(), opening.start(), opening.end(), line.start(), line.end())
            opening = None
        elif line[0].endswith("\n") and (opening is None or _is_stray(opening, line)):
            opening = line
    if opening is not None:
        yield Fence(opening[3].lower(), opening.start(), opening.end(), None, len(text))


def unrun_code(tail: str) -> str | None:
    """Returns the script of the closed Python block that `tail`, the response since the last output, ends with."""
    fence = _last_fence(tail)
    if fence is None or fence.close is None or not fence.is_python:
        return None
    if tail[fence.end :].strip() or not tail[: fence.end].endswith("\n"):
        return None
    return code_of(tail, fence)


def first_closed(text: str, position: int) -> Fence | None:
    """Returns the first Python block that is closed behind a position of a text, characters."""
    return next((f for f in fences(text) if f.is_python and f.close is not None and f.end > position), None)


def code_of(text: str, fence: Fence) -> str:
    """Returns what stands between the fences, without the indentation of a block that is indented as a whole."""
    body = text[fence.body : fence.close]
    return textwrap.dedent(body) if text[fence.start] not in "`~" else body


def opened_python(tail: str) -> int | None:
    """Returns where the Python block that `tail` ends in or with was opened; None when it ends in neither."""
    fence = _last_fence(tail)
    if fence is None or not fence.is_python or (fence.close is not None and tail[fence.end :].strip()):
        return None
    return fence.start


def count_code_blocks(text: str) -> int:
    """Returns the number of Python blocks that a response opens, also where it opens one inside another."""
    return sum(line[3].lower() in PYTHON for line in _FENCE_LINE.finditer(text))


def script_of(code: str) -> str:
    """Returns the text of a code span without its fences; a hint may have opened the block before the span."""
    opening = _FENCE_LINE.match(code.lstrip("\n"))
    if opening is not None and opening[0].endswith("\n"):
        code = code.lstrip("\n")[opening.end() :]
    script = _TRAILING_FENCE.sub("", code).strip("\n")
    return textwrap.dedent(script) if opening is not None and opening[1] else script


def _closes(line: re.Match[str], opening: re.Match[str]) -> bool:
    return not line[1].strip() and not line[3] + line[4].strip() and line[2].startswith(opening[2])


def _is_stray(opening: re.Match[str], line: re.Match[str]) -> bool:
    """Says whether a fence is stray because of the one that follows while it is open."""
    if not opening[3] + opening[4].strip():
        return bool(line[3] + line[4].strip())
    is_python = opening[3].lower() in PYTHON
    return not is_python and line[3].lower() in PYTHON and line[2].startswith(opening[2])


def _last_fence(text: str) -> Fence | None:
    last = None
    for last in fences(text):  # noqa: B007  the last one is what is wanted
        pass
    return last
