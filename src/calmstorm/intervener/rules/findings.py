"""What a rule finds: a flaw, and what a hint about it has to say."""

from __future__ import annotations

from dataclasses import dataclass, field

from calmstorm.intervener.hints import Correction
from calmstorm.records import Trigger


@dataclass(frozen=True)
class Finding:
    """A flaw with the correction it calls for."""

    trigger: Trigger
    start: int
    """Offset of the flawed passage in the response, characters."""
    end: int
    analysis: str
    """Why this is a flaw, in a sentence."""
    correction: Correction
    names: dict[str, str] = field(default_factory=dict)
    """Words for the hint: direction, objective, domain, row."""
    sure: bool = False
    """Whether there is evidence beyond a choice of words: what ran, what was solved, or a second, independent sign."""


@dataclass(frozen=True)
class Assessment:
    """What the rules say about a response."""

    findings: tuple[Finding, ...]
    """In order of appearance; empty where they found no flaw."""
    doubt: str = ""
    """Why the first may not be the first flaw, or why the response may have one; empty where the rules are sure."""

    @property
    def sure(self) -> bool:
        """Whether the rules stand by the first flaw, or by there being none; else they abstain."""
        return not self.doubt
