"""Weights in training to vLLM servers from GPU to GPU: one group of NCCL, one broadcast.

Written against vLLM 0.32 (its weight transfer is the same since 0.28), whose NCCL helpers have to be importable here;
not run, for want of GPUs. A server that dies while weights stream ends the training, which its checkpoint continues.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from calmstorm.errors import WorkError
from calmstorm.reasoner.managed import free_port
from calmstorm.training.exports import with_head
from calmstorm.training.generator import TrainedWeights
from calmstorm.training.ranks import await_on_first, is_first
from calmstorm.training.weight_sync import TrainedServer, together


class NcclSync:
    """From the first process's GPU to those of all servers at once, in one group of NCCL. Not run."""

    def __init__(self, tied: bool) -> None:
        """Takes whether the trained model's output shares the matrix of its input; that of the servers does not."""
        self._tied = tied
        self._group: Any = None
        self._announced: dict[str, list[Any]] | None = None

    async def send(self, weights: TrainedWeights, servers: Sequence[TrainedServer], version: str, step: int) -> None:
        """Streams the weights, gathered one at a time."""
        if self._announced is None:
            every = [(name, tensor) for name, tensor in self._tensors(weights, keep=False)]
            self._announced = {
                "names": [name for name, _ in every],
                "dtype_names": [str(tensor.dtype).removeprefix("torch.") for _, tensor in every],
                "shapes": [list(tensor.shape) for _, tensor in every],
            }

        async def begin() -> None:
            if self._group is None or {await server.held() for server in servers} != {servers[0].version}:
                await self._connect(servers)
            await together(server.ask("POST", "/start_weight_update", {}) for server in servers)

        async def finish() -> None:
            await together(server.ask("POST", "/finish_weight_update", {}) for server in servers)
            await together(server.accept(version) for server in servers)

        await await_on_first(begin)
        if is_first():
            await self._stream(weights, servers)
        else:
            for _ in weights.tensors():  # takes part in gathering them
                pass
        await await_on_first(finish)

    def _tensors(self, weights: TrainedWeights, keep: bool = True) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in with_head(weights.tensors(), self._tied):
            yield name, tensor if keep else tensor.to("meta")

    async def _connect(self, servers: Sequence[TrainedServer]) -> None:
        """Makes one group of the trainer, which is its rank 0, and the workers of all servers."""
        from vllm.distributed.weight_transfer.nccl_common import trainer_init
        from vllm.utils.network_utils import get_ip

        sizes = [int((await server.ask("GET", "/get_world_size"))["world_size"]) for server in servers]
        group = {"master_address": get_ip(), "master_port": free_port(), "world_size": 1 + sum(sizes), "packed": True}

        async def join(server: TrainedServer, offset: int) -> None:
            if await server.held() == server.version != "":  # it is in a group that another server has left
                await server.ask("POST", "/shutdown_weight_transfer_engine")
            await server.ask("POST", "/init_weight_transfer_engine", {"init_info": {**group, "rank_offset": offset}})

        joining = [join(server, 1 + sum(sizes[:place])) for place, server in enumerate(servers)]
        self._group = None
        _, self._group = await asyncio.gather(together(joining), _in_thread(lambda: trainer_init(group)))

    async def _stream(self, weights: TrainedWeights, servers: Sequence[TrainedServer]) -> None:
        from vllm.distributed.weight_transfer.packed_tensor import packed_nccl_broadcast_producer

        body = {"update_info": self._announced}
        receiving = asyncio.create_task(together(server.ask("POST", "/update_weights", body) for server in servers))
        sending = asyncio.create_task(
            _in_thread(
                lambda: packed_nccl_broadcast_producer(
                    iterator=self._tensors(weights), group=self._group, src=0, post_iter_func=lambda item: item[1]
                )
            )
        )
        await asyncio.wait({receiving, sending}, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((task for task in (receiving, sending) if task.done() and task.exception()), None)
        if failed is not None:  # the others of the group wait for ever: only a new process gets out of it
            raise WorkError(f"weights did not reach all servers ({failed.exception()}): run the same command to resume")


async def _in_thread(work: Callable[[], Any]) -> Any:  # noqa: ANN401
    """Runs a blocking call of CUDA in a thread that does not keep the process alive."""
    device, loop = torch.cuda.current_device(), asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def run() -> None:
        try:
            torch.cuda.set_device(device)
            result, error = work(), None
        except Exception as raised:
            result, error = None, raised
        loop.call_soon_threadsafe(lambda: future.set_exception(error) if error else future.set_result(result))

    threading.Thread(target=run, daemon=True).start()
    return await future
