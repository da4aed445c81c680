"""Rollouts of reinforcement learning from vLLM servers, which get the weights before each step.

Servers are the user's own (`rl.servers`) or started for the training by `server.command`. When one is lost in the
middle of a step, the others do its work; where none is left, rollouts fail, and another `sync` of the same step starts
servers of ours again, waits for the user's, and brings them the weights, so that the rollouts can be repeated. None
answers with weights of another step: a server counts as back only once it holds the step's own.
"""

from __future__ import annotations

import asyncio
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import torch

from calmstorm.errors import InfrastructureError, InputError, WorkError
from calmstorm.progress import note
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.managed import ServerProcesses, own_gpus
from calmstorm.reasoner.opening import server_urls
from calmstorm.reasoner.server import ServerReasoner
from calmstorm.settings import RlSettings, ServerSettings
from calmstorm.training.exports import export, is_tied
from calmstorm.training.generator import TrainedWeights
from calmstorm.training.ranks import await_on_first, is_first, on_first
from calmstorm.training.weight_sync import ReloadSync, TrainedServer, WeightSync, together

_ATTEMPTS = 3
"""How often servers are started again, or waited for, before one step is given up."""
_BLIP_SECONDS = 10.0
"""How long rollouts wait for a server that does not answer, before they fail: their step can be repeated."""
_POLL_SECONDS = 0.5
_SERVED = "served"
_TRANSFER = """--weight-transfer-config '{"backend":"nccl"}'"""


def check_servers(settings: RlSettings, server: ServerSettings) -> None:
    """Refuses servers that rollouts cannot come from, before anything is loaded or started.

    Raises:
        InputError: None are named, or they cannot be used as they are said to be.
    """
    if settings.servers is None and not server.command:
        raise InputError(
            "rl.generator is 'server', but there are neither servers (rl.servers) nor a command that starts some "
            "(server.command): set one of them"
        )
    if settings.servers is not None and not server_urls(settings.servers):
        raise InputError(f"rl.servers is {settings.servers!r}; it must be base URLs separated by commas: correct it")
    if server.text_only:
        raise InputError("server.text_only is true; reinforcement learns from token ids: leave it out")
    if settings.temperature != 1 and not server.sampled_logprobs:
        raise InputError(
            f"rl.temperature is {settings.temperature:g}; servers report log-probabilities of temperature 1 unless "
            "started with --logprobs-mode processed_logprobs: do so and set server.sampled_logprobs=true"
        )
    gpus = torch.cuda.device_count()
    if settings.sync == "nccl" and not gpus:
        raise InputError("rl.sync is 'nccl', but this machine has no GPU: set rl.sync=reload")
    if settings.sync == "nccl" and gpus == 1 and settings.servers is None:
        raise InputError("rl.sync is 'nccl', which needs a GPU for each side, and here is one: set rl.sync=reload")
    if settings.sync == "nccl" and find_spec("vllm") is None:
        raise InputError(
            "rl.sync is 'nccl', which takes vllm in this environment, too: install it, or set rl.sync=reload"
        )
    wanted = settings.processes + settings.instances
    if settings.servers is None and gpus < wanted and not (gpus == 0 or wanted == 2):
        raise InputError(
            f"{settings.processes} processes (rl.processes) and {settings.instances} servers (rl.instances) take a GPU "
            f"each, and here are {gpus}: lower one of them"
        )


class Served(NamedTuple):
    """What servers say of the model they serve."""

    model: str
    context_tokens: int | None


class ServerGenerator:
    """vLLM servers that follow a training; see `Generator`."""

    _settings: RlSettings
    _server: ServerSettings

    def __init__(self, policy: LocalReasoner, settings: RlSettings, server: ServerSettings, work: Path) -> None:
        """Prepares; servers are started and asked at the first `sync`.

        Args:
            policy: The model in training.
            settings: Which servers, and how weights reach them.
            server: How servers are asked and started.
            work: Directory of the training, for weights that servers read and for their logs; they have to see it.

        Raises:
            InputError: Servers cannot be used as they are said to be.
        """
        check_servers(settings, server)
        self._settings, self._server = settings, server
        self._codec, self._prompt = policy.codec, policy.prompt
        self._tied = bool(policy.model.config.tie_word_embeddings)
        self._first_weights = work / _SERVED / "start"
        self._processes = self._own(work) if settings.servers is None and is_first() else None
        self._servers: list[TrainedServer] = []
        self._served: Served | None = None
        self._reasoner: ServerReasoner | None = None
        self._sync: WeightSync = self._way(work)

    def _own(self, work: Path) -> ServerProcesses:
        taken, count = self._settings.processes, self._settings.instances
        gpus = torch.cuda.device_count()
        alone = gpus == 1 and taken == count == 1  # server and training share it
        return ServerProcesses(
            str(self._first_weights.resolve()),
            self._server,
            work / _SERVED / "server.log",
            instances=count,
            gpus=None if alone or not gpus else own_gpus(count, taken),
            environment={"VLLM_SERVER_DEV_MODE": "1"},
        )

    def _way(self, work: Path) -> WeightSync:
        if self._settings.sync == "reload":
            return ReloadSync(work / _SERVED)
        from calmstorm.training.nccl_sync import NcclSync

        return NcclSync(self._tied)

    @property
    def reasoner(self) -> ServerReasoner:
        """What rollouts are drawn from; there is none before the first `sync`."""
        if self._reasoner is None:
            raise RuntimeError("servers are known after the first sync")
        return self._reasoner

    @property
    def lost(self) -> bool:
        """Whether a server was given up since the last `sync`: rollouts that failed are worth another."""
        return self._reasoner is not None and self._reasoner.lost

    async def sync(self, weights: TrainedWeights, step: int) -> None:
        """Starts servers where there are none, and brings all of them the weights.

        Raises:
            InputError: A server cannot be used for training.
            WorkError: One cannot be reached, or keeps failing.
        """
        needed = self._settings.servers is None or self._tied
        if needed and not on_first(self._first_weights.is_dir):
            export(weights, self._first_weights)
        version = on_first(lambda: f"{uuid4().hex[:8]}-{step}")
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                served, urls = await await_on_first(self._ready)
                self._open(served, urls)
                await self._sync.send(weights, self._servers, version, step)
                break
            except InfrastructureError as error:
                if attempt == _ATTEMPTS:
                    raise WorkError(
                        f"step {step} cannot begin ({error}): see to the servers, then run the same command to resume"
                    ) from None
                if is_first():
                    note(f"{error}; trying again")
        for server in self._servers:
            server.version = version
        self.reasoner.restore()

    def _open(self, served: Served, urls: tuple[str, ...]) -> None:
        if self._reasoner is not None:
            return
        self._servers = self._servers or [TrainedServer(url, self._server) for url in urls]
        patience = min(_BLIP_SECONDS, self._server.patience_seconds)
        self._reasoner = ServerReasoner(
            self._servers,
            served.model,
            tokenizer=self._codec,
            prompt=self._prompt,
            settings=self._server.model_copy(update={"patience_seconds": patience}),
            context_tokens=served.context_tokens,
        )

    async def _ready(self) -> tuple[Served, tuple[str, ...]]:
        """Returns what the servers serve, once all of them answer; in the first process."""
        if self._processes is not None:
            self._processes.start()
            for _ in self._processes.waiting():
                await asyncio.sleep(_POLL_SECONDS)
            urls = self._processes.urls
        else:
            urls = server_urls(self._settings.servers or "")
        if not self._servers:
            self._servers = [TrainedServer(url, self._server) for url in urls]
        await together(self._wait_for(server) for server in self._servers)
        if self._served is None or self.lost:
            found = [await self._examined(server) for server in self._servers]
            names = {served.model for served in found}
            if len(names) > 1:
                raise InputError(f"rl.servers serve different models ({', '.join(sorted(names))}): name servers of one")
            self._served = found[0]
        return self._served, urls

    async def _wait_for(self, server: TrainedServer) -> None:
        began = time.monotonic()
        while not await server.answers():
            if time.monotonic() - began > self._server.patience_seconds:
                raise WorkError(
                    f"{server.url} could not be reached for {self._server.patience_seconds:g} seconds: start it, then "
                    "run the same command to resume"
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _examined(self, server: TrainedServer) -> Served:
        """Returns what a server serves.

        Raises:
            InputError: It serves several models, allows no weight sync, reports other log-probabilities than are
                needed, or would compute wrong logits with new weights.
        """
        listed = server.served()
        if len(listed) != 1:
            raise InputError(
                f"{server.url} serves {len(listed)} models; a server in a training serves the one: start it so"
            )
        information = await server.ask("GET", "/server_info?config_format=json")
        every: dict[str, Any] = information.get("vllm_config") or {}
        config: dict[str, Any] = every.get("model_config") or {}
        mode = str(config.get("logprobs_mode", "processed_logprobs"))
        if self._settings.temperature != 1 and not mode.startswith("processed"):
            raise InputError(
                f"{server.url} reports log-probabilities as {mode}; temperature {self._settings.temperature:g} needs "
                "those that were drawn from: start it with --logprobs-mode processed_logprobs"
            )
        model = Path(str(config.get("model", "")))
        untied = model == self._first_weights.resolve() or ((model / "config.json").is_file() and not is_tied(model))
        if self._tied and not untied and not config.get("word_embeddings_untied_by_checkpoint"):
            raise InputError(
                f"{server.url} serves {model}, whose output shares the matrix of its input; vLLM computes wrong logits "
                f"once it gets new weights: start it on {self._first_weights.resolve()}"
            )
        if self._settings.sync == "nccl" and not every.get("weight_transfer_config"):
            raise InputError(f"{server.url} takes no weights by NCCL: start it with {_TRANSFER}, or set rl.sync=reload")
        return Served(listed[0].id, listed[0].max_model_len)

    async def close(self) -> None:
        """Closes the connections, and ends the servers that were started."""
        try:
            for server in self._servers if self._reasoner is None else [self._reasoner]:
                await server.close()
        finally:
            if self._processes is not None:
                await asyncio.to_thread(self._processes.end)
