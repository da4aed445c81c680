r"""From a response to its answer: a number, a status word or nothing, and whether the box kept to the protocol.

The last box decides (paper appendix B). Reading it is lenient, so that correctness measures modeling and not
typesetting; the protocol verdict is strict and separate (trigger 7, paper appendix D).
"""

from __future__ import annotations

import re

from calmstorm.grading.boxes import find_boxes
from calmstorm.grading.numbers import plain_number, stated_number
from calmstorm.problems.labels import STATUS_PHRASES, status_word
from calmstorm.records import Record

_TEXT_COMMAND = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")


class Extracted(Record):
    """What a response states as its answer."""

    value: float | str | None
    """A finite number, a status word (`infeasible`, `unbounded`, `no_optimum`), or None when nothing was stated."""
    protocol_ok: bool
    """The last box holds exactly one plain number or status word and nothing else."""
    boxes: tuple[str, ...]
    """Contents of all boxes outside code and output blocks, in order."""


def extract_answer(response: str) -> Extracted:
    r"""Reads the last box of a response that is not empty.

    An empty box is a mention of the instruction ("put it in \boxed{}"), not an answer.
    """
    boxes = find_boxes(response)
    stated = [box for box in boxes if box]
    if not stated:
        return Extracted(value=None, protocol_ok=False, boxes=boxes)
    last = stated[-1]
    number = plain_number(last)
    if number is not None:
        return Extracted(value=number, protocol_ok=boxes[-1] == last, boxes=boxes)
    status = status_word(last)
    if status is not None:
        return Extracted(value=status.value, protocol_ok=_is_bare_status(last), boxes=boxes)
    if any(pattern.search(last) for _, pattern in STATUS_PHRASES):  # "0, infeasible" says two things
        return Extracted(value=None, protocol_ok=False, boxes=boxes)
    return Extracted(value=stated_number(last), protocol_ok=False, boxes=boxes)


def _is_bare_status(box: str) -> bool:
    bare = _TEXT_COMMAND.sub(r"\1", box).strip()
    return any(pattern.fullmatch(bare) for _, pattern in STATUS_PHRASES)
