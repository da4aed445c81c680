"""How text and numbers are shown: shares as percent, and text of others with nothing in it that steers a screen.

Escape sequences, control characters and characters that hide or turn text (zero-width, bidirectional overrides) are
taken out, or written out where nothing of a text may be lost; line breaks stay.
"""

from __future__ import annotations

import re
import unicodedata

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # titles, links, device strings
    r"|\x1b[ -/]*[0-~]"
)
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that no glyph belongs to."""
_UNUSUAL = re.compile(r"[^\t\n -~]")


def printable(text: str) -> str:
    """Returns the text with line breaks and visible characters only."""
    text = _ESCAPES.sub("", text.replace("\t", "    "))
    return "".join(c for c in text if c == "\n" or unicodedata.category(c) not in _UNSEEN)


def visible(text: str) -> str:
    """Returns the text with each character that has no glyph written out as `<U+202E>`; tabs stay, too."""
    return _UNUSUAL.sub(lambda c: f"<U+{ord(c[0]):04X}>" if unicodedata.category(c[0]) in _UNSEEN else c[0], text)


def percent(share: float | None, digits: int = 1) -> str:
    """Returns a share as percent, or a dash where there is none."""
    return "-" if share is None else f"{share:.{digits}%}"


def percent_interval(ends: tuple[float, float] | None, digits: int = 1) -> str:
    """Returns an interval of shares as percent, or a dash where there is none."""
    return "-" if ends is None else f"{ends[0]:.{digits}%} to {ends[1]:.{digits}%}"
