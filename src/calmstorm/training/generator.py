"""Where rollouts of reinforcement learning come from, and how they get the weights that were just trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch

from calmstorm.errors import InputError
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import Reasoner
from calmstorm.settings import RlSettings, ServerSettings


class TrainedWeights(Protocol):
    """The weights in training, whole, however they are spread over processes.

    Every process has to take part in each call, and in the same order; only the first gets something to send.
    """

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields the name and value of each weight, one at a time, as a Hugging Face directory names them."""
        ...

    def save(self, directory: Path) -> None:
        """Writes a Hugging Face directory."""
        ...


class Generator(Protocol):
    """A Reasoner that follows a training.

    Lifecycle: `sync` before the rollouts of each step, `close` once. Every process of a training has its own.
    """

    @property
    def reasoner(self) -> Reasoner:
        """What rollouts are drawn from; gives token ids and log-probabilities."""
        ...

    @property
    def lost(self) -> bool:
        """Whether a part of it failed since the last `sync`: rollouts that failed are made again after another."""
        ...

    async def sync(self, weights: TrainedWeights, step: int) -> None:
        """Takes over the weights, so that the rollouts of `step` are drawn from them; again where it `lost` a part.

        Raises:
            WorkError: They could not be brought to the generator.
        """
        ...

    async def close(self) -> None:
        """Ends what was started."""
        ...


class ProcessGenerator:
    """The engine in this process, on the very weights that are trained."""

    def __init__(self, reasoner: LocalReasoner) -> None:
        """Takes the Reasoner over the model in training."""
        self._reasoner = reasoner

    @property
    def reasoner(self) -> LocalReasoner:
        """What rollouts are drawn from."""
        return self._reasoner

    @property
    def lost(self) -> bool:
        """Never: it lives and dies with the training."""
        return False

    async def sync(self, weights: TrainedWeights, step: int) -> None:
        """Forgets what was computed with the weights of the step before."""
        self._reasoner.reset_cache()

    async def close(self) -> None:
        """Stops the engine."""
        await self._reasoner.close()


def open_generator(policy: LocalReasoner, settings: RlSettings, server: ServerSettings, work: Path) -> Generator:
    """Opens what rollouts of a training are drawn from.

    Args:
        policy: The model in training, in this process.
        settings: Which generator it is to be.
        server: How servers are started and asked.
        work: Directory of the training, which servers have to see, too.

    Raises:
        InputError: The generator cannot follow such a training.
    """
    if settings.generator == "server":
        from calmstorm.training.server_generator import ServerGenerator

        return ServerGenerator(policy, settings, server, work)
    if settings.sharding != "none":
        raise InputError(
            f"rl.generator is 'process' and rl.sharding is '{settings.sharding}'; the engine in the process needs "
            "whole weights: set rl.generator to 'server' or rl.sharding to 'none'"
        )
    return ProcessGenerator(policy)
