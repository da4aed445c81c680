"""What a rule found: a flaw, and what a hint about it has to say."""

from __future__ import annotations

from dataclasses import dataclass, field

from calmstorm.intervener.hints import Correction
from calmstorm.records import Flaw, Trigger


@dataclass(frozen=True)
class Finding:
    """A flaw with the correction it calls for."""

    trigger: Trigger
    start: int
    end: int
    analysis: str
    correction: Correction
    names: dict[str, str] = field(default_factory=dict)
    """Words for the hint: direction, objective, domain, row."""

    @property
    def flaw(self) -> Flaw:
        """The flaw as a record."""
        return Flaw(trigger=self.trigger, start=self.start, end=self.end, analysis=self.analysis)
