r"""Where a response states its answer: the `\boxed{...}` it ends with (paper appendix B, "Final Answer Boxing").

Boxes inside fenced code and output blocks are what a program printed or a comment said, not an answer. Not
covered: answers outside a box; the protocol asks for one.
"""

from __future__ import annotations

import re

from calmstorm.rollout.fences import fences

_BOX = re.compile(r"\\boxed\s*\{")
_CONTENT_LIMIT = 1000
"""Characters. A longer one lacks its closing brace, and a later brace would end it."""


def find_boxes(response: str) -> tuple[str, ...]:
    """Returns the contents of the closed boxes outside code and output blocks, in order, white space stripped.

    A box inside a box belongs to the outer one. A box that is never closed is not a box.
    """
    text = _without_blocks(response)
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


def _without_blocks(text: str) -> str:
    """Returns the text without its fenced blocks.

    A block that names its language ("```python", "```output") and is never closed runs to the end: the response was cut
    there. A bare fence that is never closed is stray, as models write behind output, and hides nothing.
    """
    kept: list[str] = []
    position = 0
    for fence in fences(text):
        if fence.close is not None or fence.language:
            kept.append(text[position : fence.start])
            position = fence.end
    return "".join([*kept, text[position:]])
