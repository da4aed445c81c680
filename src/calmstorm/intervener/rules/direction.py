"""The direction of the objective that a problem text asks for, as far as its words say so."""

from __future__ import annotations

import re

from calmstorm.records import Sense

_LIMITS = re.compile(
    r"\bat (?:most|least|minimum|maximum)\b|\b(?:minimum|maximum)(?: \w+)? of\b|\b(?:minimum|maximum) (?:is )?\$?\d"
    r"|\b(?:minimum|maximum) (?:capacity|supply|demand|requirement|weight|load|number)\b|\bmost of\b",
    re.IGNORECASE,
)
"""Phrases that state a limit, not the objective."""
_VERBS = {
    Sense.MAXIMIZE: re.compile(r"\bmaximi[sz]", re.IGNORECASE),
    Sense.MINIMIZE: re.compile(r"\bminimi[sz]", re.IGNORECASE),
}
_SUPERLATIVES = {
    Sense.MAXIMIZE: re.compile(
        r"\bmaximum\b|\bmost\b|\bhighest\b|\blargest\b|\bgreatest\b|\bbest possible\b|\bas much\b|\bhow large\b",
        re.IGNORECASE,
    ),
    Sense.MINIMIZE: re.compile(
        r"\bminimum\b|\bleast\b|\blowest\b|\bsmallest\b|\bcheapest\b|\bhow small\b", re.IGNORECASE
    ),
}


def wanted_sense(question: str) -> Sense | None:
    """Returns the direction a text asks for, or None when it says neither or both.

    The verbs decide where there are any; superlatives only where there are none.
    """
    objective = _LIMITS.sub(" ", question)
    for cues in (_VERBS, _SUPERLATIVES):
        senses = [sense for sense, cue in cues.items() if cue.search(objective)]
        if senses:
            return senses[0] if len(senses) == 1 else None
    return None
