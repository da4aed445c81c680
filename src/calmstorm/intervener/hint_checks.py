r"""Where a correction goes and what it may say; the rules hold for every Intervener.

A hint stands where the flawed passage began. It never stands inside a code block (the block is dropped with it), and
it never replaces what a program printed or what an earlier hint said. It is short, does not give the answer away, says
nothing that would end the turn, and for triggers 1 and 2 it opens a Python block (paper appendix I).
"""

from __future__ import annotations

import re

from calmstorm.intervener.hints import OPEN_BLOCK
from calmstorm.intervener.leaks import gives_away, printed_before
from calmstorm.intervener.segments import segments
from calmstorm.records import Author, Intervention, Problem, SpanKind, Trajectory, Trigger

LONGEST_HINT = 800
"""Characters; hints are lightweight."""
OPENS_BLOCK = frozenset({Trigger.PREMATURE_SOLVING, Trigger.FRAGMENTED_CODING})
"""Triggers whose hints end by opening a Python block."""

_OPENING = re.compile(r"(?:\s|\\n)*```[ \t]*(?:python3?|py)?(?:\s|\\n)*\Z", re.IGNORECASE)
"""A block opened at the end of a hint; some models write line breaks as backslash and n."""
_CONTROL = re.compile(r"<\|[^|\n]*\|>|</?think>|[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", re.IGNORECASE)
_FILLED_BOX = re.compile(r"\\f?box(?:ed)?\s*(?:\{+\s*[^\s{}]|[-+$]?\d)")


class Unusable(Exception):
    """A correction cannot be used; the message says why, for whoever made it."""


def place(trajectory: Trajectory, start: int) -> int:
    """Returns where the response is to be cut for a flawed passage that begins at `start`.

    Args:
        trajectory: What was reviewed.
        start: Offset of the passage in the response, characters.

    Raises:
        Unusable: The passage begins in execution output or in an earlier hint.
    """
    part = next((part for part in segments(trajectory.response) if part.start <= start < part.end), None)
    if part is not None and part.kind is SpanKind.CODE:
        return part.start
    author = author_at(trajectory, start)
    if author is Author.INTERPRETER:
        raise Unusable("the passage begins in what a program printed; quote what the Reasoner itself wrote")
    if author is Author.INTERVENER:
        raise Unusable("the passage begins in an earlier hint; quote what the Reasoner itself wrote after it")
    if part is not None and part.kind is SpanKind.OUTPUT:  # output that the Reasoner made up
        return part.start
    return start


def author_at(trajectory: Trajectory, position: int) -> Author | None:
    """Returns who wrote the character at a position of the response; None behind its end."""
    for span in trajectory.spans:
        if position < len(span.text):
            return span.author
        position -= len(span.text)
    return None


def bare_hint(words: str) -> str:
    """Returns a hint without the block that it may open at its end."""
    return _OPENING.sub("", words).strip()


def complete_hint(words: str, trigger: Trigger, before: str) -> str:
    """Returns a hint as it is put into a response: on a line of its own, a Python block opened where it is due.

    Args:
        words: The hint; it may itself end by opening a block.
        trigger: What it corrects.
        before: The response up to the hint.
    """
    opens = trigger in OPENS_BLOCK or _OPENING.search(words) is not None
    lead = "" if not before or before.endswith("\n") else "\n"
    return lead + bare_hint(words) + (OPEN_BLOCK if opens else "\n")


def require_usable_hint(words: str, problem: Problem, trajectory: Trajectory, position: int) -> None:
    """Checks the words of a hint.

    Args:
        words: The hint; it may end by opening a block.
        problem: What is solved, with its label.
        trajectory: What was reviewed.
        position: Where its response is cut and the hint goes, characters.

    Raises:
        Unusable: It is empty, too long, holds code or a filled box or control tokens, or gives the answer away.
    """
    if len(words) > 2 * LONGEST_HINT:  # white space is not looked through for ever
        raise Unusable(f"the hint has {len(words)} characters; at most {LONGEST_HINT} are allowed")
    hint = bare_hint(words)
    if not hint:
        raise Unusable("the hint is empty")
    if len(hint) > LONGEST_HINT:
        raise Unusable(f"the hint has {len(hint)} characters; at most {LONGEST_HINT} are allowed")
    if "```" in hint:
        raise Unusable("the hint holds a code block; it may only end by opening one")
    if _CONTROL.search(hint):
        raise Unusable("the hint holds a control token, a control character or a think tag")
    if _FILLED_BOX.search(hint):
        raise Unusable("the hint fills in the box; that is for the Reasoner to do")
    if gives_away(hint, problem, printed_before(trajectory, position)):
        raise Unusable("the hint states the ground truth; point at the flaw without naming the final value")


def intervention_at(
    trajectory: Trajectory, start: int, end: int, trigger: Trigger, *, analysis: str, words: str, intervener: str
) -> Intervention:
    """Returns the record of a correction that drops the response from `start` on.

    Args:
        trajectory: What was reviewed.
        start: Where the response is cut, characters.
        end: Where the flawed passage ends, characters.
        trigger: Its kind.
        analysis: Why it is a flaw.
        words: The words of the hint.
        intervener: Who corrects, for records.
    """
    return Intervention(
        problem_id=trajectory.problem_id,
        sample=trajectory.sample,
        round=trajectory.round,
        trigger=trigger,
        analysis=analysis,
        target=trajectory.response[start:end],
        position=start,
        hint=complete_hint(words, trigger, trajectory.response[:start]),
        intervener=intervener,
    )
