"""The engine of this package as verl's rollout engine, for models that fit a CPU.

verl knows three parties: the replica, which the trainer controls; the server behind it, which agent loops ask for
tokens; and the rollout in each training process, which hands over new weights.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Any

import ray
import torch
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput
from verl.workers.rollout.utils import ensure_async_iterator

from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import CompletionStop, Prefix, Sampling
from calmstorm.settings import LocalSettings

_NAME = "calmstorm_server_"
"""Beginning of the servers' names; the rank of the replica follows."""


class CpuServer:
    """The actor that generates: one engine, which batches all concurrent requests."""

    def __init__(self, model: str, sequences: int) -> None:
        torch.set_num_threads(1)  # more are slower for a model that fits here
        local = LocalSettings(device="cpu", dtype="float32", sequences=sequences)
        self._reasoner = LocalReasoner(model, local=local)
        self._version = 0
        self._running: set[asyncio.Task[Any]] = set()
        self._open = asyncio.Event()
        self._open.set()

    async def generate(
        self,
        request_id: str,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        **unused: Any,  # noqa: ANN401
    ) -> TokenOutput:
        """Continues a prompt. A request that is aborted gives no tokens: it is asked again under the next weights."""
        await self._open.wait()
        sampling = Sampling(
            temperature=sampling_params["temperature"],
            top_p=sampling_params["top_p"],
            top_k=max(0, sampling_params.get("top_k", 0)),
            seed=sampling_params.get("seed"),
        )
        task = asyncio.ensure_future(
            self._reasoner.generate(
                Prefix(text="", token_ids=tuple(prompt_ids)),
                stop=tuple(sampling_params.get("stop") or ()),
                max_tokens=sampling_params["max_tokens"],
                sampling=sampling,
            )
        )
        self._running.add(task)
        await asyncio.wait([task])
        self._running.discard(task)
        version = {"global_steps": self._version}
        if task.cancelled():
            return TokenOutput(token_ids=[], log_probs=[], stop_reason="aborted", extra_fields=version)
        completion = task.result()
        return TokenOutput(
            token_ids=list(completion.token_ids or ()),
            log_probs=list(completion.logprobs or ()),
            stop_reason="length" if completion.stop is CompletionStop.LENGTH else "completed",
            extra_fields=version,
        )

    async def load(self, weights: dict[str, torch.Tensor], version: int | None) -> None:
        """Takes over new weights."""
        self._reasoner.model.load_state_dict(weights, strict=False)  # tied weights come once
        self._reasoner.reset_cache()
        self._version = version or 0

    async def sleep(self) -> None:
        """Forgets keys and values; the weights stay."""
        self._reasoner.reset_cache()

    async def wake_up(self) -> None:
        """Nothing sleeps."""

    async def abort_all_requests(self, reject_request: bool = False) -> None:
        """Ends what is under way and holds new requests until `resume_generation`."""
        self._open.clear()
        for task in self._running:
            task.cancel()

    async def resume_generation(self) -> None:
        """Lets held requests go on."""
        self._open.set()

    async def clear_kv_cache(self) -> None:
        """Forgets keys and values."""
        self._reasoner.reset_cache()

    async def release_kv_cache(self) -> None:
        """Forgets keys and values."""
        self._reasoner.reset_cache()

    async def resume_kv_cache(self) -> None:
        """The cache grows as it is needed."""

    async def start_profile(self, **unused: Any) -> None:  # noqa: ANN401
        """Nothing is profiled."""

    async def stop_profile(self) -> None:
        """Nothing is profiled."""


class CpuReplica(RolloutReplica):  # type: ignore[misc]
    """One `CpuServer`, under the trainer's control."""

    async def launch_servers(self) -> None:
        """Starts the server."""
        options = {"name": f"{_NAME}{self.replica_rank}", "num_cpus": 0, "max_concurrency": self.max_concurrency}
        server = ray.remote(CpuServer).options(**options).remote(self.model_config.path, self.config.max_num_seqs)
        self.servers = [server]
        self._server_handle = server
        self._server_address = f"{_NAME}{self.replica_rank}"


class CpuRollout(BaseRollout):  # type: ignore[misc]
    """Hands the weights of a training process to the server of its rank."""

    def __init__(self, config: Any, model_config: Any, device_mesh: Any, replica_rank: int = -1) -> None:  # noqa: ANN401
        super().__init__(config, model_config, device_mesh)
        self.is_leader_rank = True
        self.replica_rank = int(os.environ["RANK"]) if replica_rank < 0 else replica_rank

    async def update_weights(self, weights: Iterator[tuple[str, torch.Tensor]], **kwargs: Any) -> None:  # noqa: ANN401
        """Sends all weights, whole, whether they come from the trainer of this process or from elsewhere."""
        copied = {name: weight.detach().cpu().clone() async for name, weight in ensure_async_iterator(weights)}
        await ray.get_actor(f"{_NAME}{self.replica_rank}").load.remote(copied, kwargs.get("global_steps"))

    async def resume(self, tags: list[str]) -> None:
        """Nothing was released."""

    async def release(self) -> None:
        """Nothing is held."""
