"""A curation that takes a while on each node; Ray imports this module in its workers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.reasoner.protocol import Completion, Prefix, Sampling
from calmstorm.reasoner.scripted import ScriptedReasoner
from tests.curation.curated_case import hesitant, strict


class SlowReasoner(ScriptedReasoner):
    """Needs two hints, and time for every completion."""

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        await asyncio.sleep(0.2)
        return await super().generate(prefix, stop=stop, max_tokens=max_tokens, sampling=sampling)


def slow_reasoner() -> OpenedReasoner:
    return OpenedReasoner(SlowReasoner(hesitant(2)), None)


def strict_intervener() -> ScriptedIntervener:
    return ScriptedIntervener(strict)
