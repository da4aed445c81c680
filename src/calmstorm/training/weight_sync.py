"""How the weights in training reach vLLM servers; here, through a directory that both see.

Uses what vLLM offers with VLLM_SERVER_DEV_MODE=1. Every process takes part in `send`, because it may hold a part of the
weights; only the first talks to the servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from calmstorm.endpoint import Endpoint
from calmstorm.endpoint.client import CLIENT_ERRORS
from calmstorm.errors import InfrastructureError, InputError
from calmstorm.reasoner.server import KEY_VARIABLE, api_of
from calmstorm.settings import ServerSettings
from calmstorm.training.exports import export
from calmstorm.training.generator import TrainedWeights
from calmstorm.training.ranks import await_on_first

DEVELOPMENT = "start vLLM with VLLM_SERVER_DEV_MODE=1 in its environment"
_RESETS = 20
_RESET_SECONDS = 0.5


class TrainedServer(Endpoint):
    """A vLLM server that gets the weights in training. It counts as alive only as long as it holds the latest ones."""

    _settings: ServerSettings

    def __init__(self, url: str, settings: ServerSettings) -> None:
        """Prepares clients; nothing is sent yet.

        Raises:
            InputError: URL or key cannot be used.
        """
        super().__init__(api_of(url), settings, source="rl.servers", key_variable=KEY_VARIABLE)
        self.version = ""
        """Of the weights that it should hold."""

    async def answers(self) -> bool:
        """Whether it answers at all."""
        return await super().alive()

    async def alive(self) -> bool:
        """Whether it answers and holds the latest weights; one that was started again does not."""
        try:
            return await super().alive() and await self.held() == self.version
        except (InputError, InfrastructureError):
            return False

    async def held(self) -> str:
        """Returns the version of the weights that it holds; "" where it was never told one, or cannot say."""
        try:
            return str((await self.ask("GET", "/weight_info"))["weight_version"])
        except InputError:
            return ""

    async def accept(self, version: str) -> None:
        """Drops what was computed with other weights than those that it holds now, and names their version.

        Raises:
            InfrastructureError: It is still computing with the old ones.
        """
        for _ in range(_RESETS):
            if (await self.ask("POST", "/reset_prefix_cache") or {}).get("success", True):
                break
            await asyncio.sleep(_RESET_SECONDS)  # requests that were broken off are about to end
        else:
            raise InfrastructureError(f"{self.url} is answering others: a server in a training is asked by it alone")
        with suppress(InputError):  # an older vLLM: after an outage it stays out until the next sync
            await self.ask("POST", "/update_weight_version", {"new_version": version})
        self.version = version

    async def ask(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  JSON
        """Sends a request to one of vLLM's development pages and returns its answer.

        Raises:
            InputError: It has no such page.
            InfrastructureError: It does not answer, or refuses.
        """
        seconds = self._settings.start_seconds  # weights take as long to load as when it starts
        try:
            async with asyncio.timeout(seconds):
                answer = await self._http.request(
                    method, self.url.removesuffix("/v1") + path, json=body, headers=self._headers, timeout=seconds
                )
            data = answer.json() if answer.content else None
        except CLIENT_ERRORS as error:
            raise InfrastructureError(f"{self.url} does not answer {path} ({self.describe(error)})") from None
        if answer.status_code in (404, 405):
            raise InputError(f"{self.url} has no {path}: {DEVELOPMENT}, or leave its servers to server.command")
        if answer.status_code >= 400:
            message = str((data or {}).get("error", data)) if isinstance(data, dict) else str(data)
            raise InfrastructureError(f"{self.url} refuses {path} ({message[:300]})")
        return data


class WeightSync(Protocol):
    """A way from trainer to servers."""

    async def send(self, weights: TrainedWeights, servers: Sequence[TrainedServer], version: str, step: int) -> None:
        """Brings weights to all servers; every process takes part.

        Raises:
            InputError: A server does not allow it.
            InfrastructureError: A server failed, and nothing is known of what it holds; it may be tried again.
        """
        ...


class ReloadSync:
    """Through a directory that trainer and servers see. Two take turns, so that none is written while it is read."""

    def __init__(self, directory: Path) -> None:
        """Takes the directory that holds both."""
        self._directory = directory
        self._written: int | None = None

    async def send(self, weights: TrainedWeights, servers: Sequence[TrainedServer], version: str, step: int) -> None:
        """Writes the weights, once for each step, and lets all servers read them."""
        place = (self._directory / f"weights-{step % 2}").resolve()
        if self._written != step:
            export(weights, place)
            self._written = step

        async def load(server: TrainedServer) -> None:
            try:
                body = {"method": "reload_weights", "kwargs": {"weights_path": str(place)}}
                await server.ask("POST", "/collective_rpc", body)
            except InfrastructureError as error:
                raise InfrastructureError(f"{error}; it has to see {place} as this machine does") from None
            await server.accept(version)

        await await_on_first(lambda: together(load(server) for server in servers))


async def together(work: Iterable[Awaitable[Any]]) -> None:
    """Does everything at once, to the end; then raises the first failure."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
