"""What is asked of the engine, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from calmstorm.errors import CalmstormError
from calmstorm.reasoner.engine.sequences import Tokens
from calmstorm.reasoner.protocol import CompletionStop, Sampling


@dataclass
class EngineCounts:
    """What the engine has done since it was made."""

    steps: int = 0
    computed: int = 0
    """Tokens run through the model, drawn ones fed back included, gaps not."""
    reused: int = 0
    """Prefix tokens that were still cached."""
    preempted: int = 0
    """Requests set aside for want of cache memory, and resumed later."""


@dataclass(eq=False)
class RequestOutput:
    """The drawn tokens of a request."""

    token_ids: list[int]
    """End-of-turn token included."""
    logprobs: list[float]
    stop: CompletionStop


@dataclass(eq=False)
class Request:
    """One `generate` call."""

    prefix: Tokens
    stop: tuple[str, ...]
    max_tokens: int
    sampling: Sampling
    stream: int
    """Key of the random stream."""
    deliver: Callable[[RequestOutput | CalmstormError], None]
    """Called once, from the engine's thread."""
    cancelled: bool = False
    drawn_before: tuple[Tokens, npt.NDArray[np.float32]] | None = field(default=None, repr=False)
    """Tokens and log-probabilities drawn before the request was preempted."""
