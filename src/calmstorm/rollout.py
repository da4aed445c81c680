"""The rollout loop: generate, run the code, append its output, go on (paper eq. 2).

This file is the seam; the loop itself is written against it.
"""

from __future__ import annotations

from calmstorm.reasoner.protocol import Prefix
from calmstorm.records import Execution, Record, Span, StopReason, Usage


class RolloutLimits(Record):
    """Bounds of one rollout. The defaults are the paper's (appendix E)."""

    response_tokens: int = 16384
    """Tokens of the whole response, execution output and hints included."""
    executions: int = 4
    output_characters: int = 800
    """Execution output beyond this is cut in the middle, visibly."""
    wall_seconds: float = 10.0
    memory_mb: int = 2048


class Rollout(Record):
    """A finished rollout, not yet graded."""

    prompt: Prefix
    spans: tuple[Span, ...]
    stop_reason: StopReason
    executions: tuple[Execution, ...]
    usage: Usage


# async def rollout(reasoner, interpreter, prompt: Prefix, *, limits, sampling, spans: Sequence[Span] = (),
#                   executions: Sequence[Execution] = ()) -> Rollout
