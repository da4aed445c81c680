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
