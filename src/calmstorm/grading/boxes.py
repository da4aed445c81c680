r"""Where a response states its answer: the `\boxed{...}` it ends with (paper appendix B, "Final Answer Boxing").

Boxes inside fenced code and output blocks are what a program printed or a comment said, not an answer. A block of
prose (a bare fence, "```text", "```markdown", "```latex") is read where no box stands outside of blocks: models frame
their answer so, or leave a fence behind output whose partner comes only after the box. Not covered: answers outside a
box; the protocol asks for one.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from calmstorm.rollout.fences import fences

_BOX = re.compile(r"\\boxed\s*\{")
_PROSE = frozenset({"", "text", "txt", "plaintext", "markdown", "md", "latex", "tex", "math"})
"""Languages of blocks in which a Reasoner may state its answer."""
_CONTENT_LIMIT = 1000
"""Characters. A longer one lacks its closing brace, and a later brace would end it."""


def find_boxes(response: str) -> tuple[str, ...]:
    """Returns the contents of the closed boxes outside code and output blocks, in order, white space stripped.

    Those in blocks of prose are among them only where no other is filled. A box inside a box belongs to the outer one.
    A box that is never closed is not a box.
    """
    boxes = _boxes_in(_without_blocks(response, frozenset()))
    return boxes if any(boxes) else _boxes_in(_without_blocks(response, _PROSE))


def _boxes_in(text: str) -> tuple[str, ...]:
    boxes: list[str] = []
    position = 0
    while opening := _BOX.search(text, position):
        end = _closing_brace(text, opening.end())
        if end is None:
            position = opening.end()
            continue
        boxes.append(text[opening.end() : end].strip())
        position = end + 1
    return tuple(boxes)


def _closing_brace(text: str, start: int) -> int | None:
    r"""Returns the index of the brace that closes the one before `start`, or None; `\{` and `\}` are text."""
    depth = 1
    index = start
    limit = min(len(text), start + _CONTENT_LIMIT)
    while index < limit:
        character = text[index]
        if character == "\\":
            index += 2
            continue
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return index
        index += 1
    return None


def _without_blocks(text: str, kept_languages: Collection[str]) -> str:
    """Returns the text without its fenced blocks, but for those of some languages.

    One of them that follows a code block directly shows what that printed, and is not kept. A block that names its
    language ("```python", "```output") and is never closed runs to the end: the response was cut there. A bare fence
    that is never closed is stray, as models write behind output, and hides nothing.
    """
    kept: list[str] = []
    position, behind_code = 0, None
    for fence in fences(text):
        shows_output = behind_code is not None and not text[behind_code : fence.start].strip()
        is_kept = fence.language in kept_languages and not shows_output
        if fence.is_python:
            behind_code = fence.end
        if not is_kept and (fence.close is not None or fence.language):
            kept.append(text[position : fence.start])
            position = fence.end
    return "".join([*kept, text[position:]])
