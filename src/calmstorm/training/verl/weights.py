"""How weights reach rollout servers of their own (mode `separate_async`) without a GPU: by the object store of Ray.

verl calls what carries weights a checkpoint engine; its own ones need GPUs. Meant for models that fit a CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import ray
import torch
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry

NAME = "calmstorm"
"""Value of verl's `rollout.checkpoint_engine.backend`."""
_MAILBOX = "calmstorm_weights"

_Weights = dict[str, torch.Tensor]


class _Mailbox:
    """The actor that holds the newest weights."""

    def __init__(self) -> None:
        self._version = -1
        self._weights: _Weights = {}
        self._changed = asyncio.Condition()

    async def put(self, version: int, weights: _Weights) -> None:
        """Replaces the weights."""
        async with self._changed:
            self._version, self._weights = version, weights
            self._changed.notify_all()

    async def get(self, version: int) -> _Weights:
        """Returns the weights as soon as they are as new as `version`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._version >= version)
            return self._weights


def _mailbox() -> Any:  # noqa: ANN401
    return ray.remote(_Mailbox).options(name=_MAILBOX, get_if_exists=True, num_cpus=0).remote()


@CheckpointEngineRegistry.register(NAME)
class RayWeights(CheckpointEngine):  # type: ignore[misc]
    """Both ends: the first training process sends, every rollout server receives."""

    def __init__(self, bucket_size: int, is_master: bool = False) -> None:
        self._is_master = is_master

    def prepare(self) -> dict[str, Any]:
        """There is nothing to prepare."""
        return {}

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[dict[str, Any]]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """No process needs to know of another."""
        return {}, {}

    def init_process_group(self, **kwargs: Any) -> None:  # noqa: ANN401
        """There is no group."""

    def finalize(self) -> None:
        """Nothing is held."""

    async def send_weights(self, weights: Iterator[tuple[str, torch.Tensor]], global_steps: int | None = None) -> None:
        """Sends all weights; each training process has to go through them, since they are gathered one by one."""
        whole = {name: weight.detach().cpu().clone() for name, weight in weights}
        if self._is_master:
            await _mailbox().put.remote(global_steps or 0, whole)

    async def receive_weights(self, global_steps: int | None = None) -> AsyncIterator[tuple[str, torch.Tensor]]:
        """Yields the weights of a step."""
        for name, weight in (await _mailbox().get.remote(global_steps or 0)).items():
            yield name, weight
