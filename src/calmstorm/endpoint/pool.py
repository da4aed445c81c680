"""Several servers of one model: who is asked, what is tried again, and what happens when one of them goes away.

A rollout stays where it began, because the server still has its keys and values; a new one goes to the server with the
least to do. A server that cannot be reached, that fails several times in a row or asks for a long pause is left: what
was asked of it is asked of the others, and it comes back when it answers a probe. Requests wait when all are gone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from calmstorm.endpoint.client import AttemptError, Call, Endpoint
from calmstorm.errors import InfrastructureError
from calmstorm.progress import note
from calmstorm.settings import EndpointSettings

T = TypeVar("T")

_STRIKES = 3
"""Failures in a row after which a server that can be reached is left."""
_SLACK = 4
"""How many more requests than the idlest a server may have before a problem is not brought back to it."""
_REMEMBERED = 100_000
"""Rollouts and problems whose server is remembered."""
_LONGEST_PROBE_PAUSE = 15.0
_LONGEST_PAUSE = 30.0


@dataclass(eq=False)
class _Server:
    """What the pool knows of an endpoint."""

    endpoint: Endpoint
    load: int = 0
    """Requests in flight or waiting for their turn."""
    begun: int = 0
    """Rollouts that began there."""
    strikes: int = 0
    """Failures since the last answer."""
    outages: int = 0
    """Times it was left since the last answer."""
    up: bool = True
    probing: asyncio.Task[None] | None = field(default=None, repr=False)


class EndpointPool:
    """Sends requests to the servers of one model, from many tasks of one event loop."""

    _settings: EndpointSettings

    def __init__(self, endpoints: Sequence[Endpoint], settings: EndpointSettings) -> None:
        """Takes endpoints that all serve the same model; they are closed with the pool."""
        self._servers = [_Server(endpoint) for endpoint in endpoints]
        self._settings = settings
        self._homes: OrderedDict[tuple[Hashable, Hashable], _Server] = OrderedDict()
        self._any_up = asyncio.Event()
        self._any_up.set()
        self._out_since = 0.0
        self._reason = ""
        self.lost = False
        """Whether a server was left since `restore`, or since the beginning."""

    def restore(self) -> None:
        """Takes all servers for well: someone has seen to those that were left."""
        for server in self._servers:
            if server.probing is not None:
                server.probing.cancel()
            server.up, server.strikes, server.outages = True, 0, 0
        self._any_up.set()
        self.lost = False

    async def send(self, call: Call[T], model: str, *, rollout: Hashable = None, problem: Hashable = None) -> T:
        """Makes a request, again and elsewhere where it fails.

        Args:
            call: Sends the request and reads the answer.
            model: The model that is asked, for messages.
            rollout: Identity of the rollout, which stays on its server.
            problem: Identity of the problem, whose next rollout rather goes where an earlier one was.

        Raises:
            InputError: A server refuses the key, or knows no such model.
            InfrastructureError: The request failed too often or is refused, or no server could be reached for
                `patience_seconds`.
        """
        failures = unreached = 0
        while True:
            server = await self._choose(rollout, problem)
            server.load += 1
            try:
                answer = await server.endpoint.attempt(call, model)
            except AttemptError as error:
                if not error.again:
                    raise
                self._strike(server, error)
                failures += error.reached
                unreached += not error.reached
                if failures > self._settings.retries or unreached > self._settings.retries + len(self._servers):
                    raise InfrastructureError(
                        f"{server.endpoint.url} failed {failures + unreached} times ({error})"
                    ) from None
                elsewhere = not server.up and any(other.up for other in self._servers)
                if error.reached and not elsewhere:  # a server that was left has its pause from all
                    await asyncio.sleep(self._pause(failures, error.pause_seconds))
            else:
                server.strikes = server.outages = 0
                return answer
            finally:
                server.load -= 1

    def _pause(self, failures: int, asked: float | None) -> float:
        """Returns the seconds until the next attempt: what the server asks for, else more after each failure."""
        if asked is not None:
            return min(asked, self._settings.patience_seconds)
        return min(0.5 * 2.0 ** (failures - 1), _LONGEST_PAUSE) * random.uniform(0.5, 1)

    async def _choose(self, rollout: Hashable, problem: Hashable) -> _Server:
        await self._wait_for_any()
        keys = [] if problem is None else [(problem, part) for part in {None, rollout}]
        home = None if rollout is None else self._homes.get((problem, rollout))
        if home is None or not home.up:
            home = self._least_loaded(self._homes.get((problem, None)))
            home.begun += 1
        for key in keys:
            self._homes[key] = home
            self._homes.move_to_end(key)
        while len(self._homes) > _REMEMBERED:
            self._homes.popitem(last=False)
        return home

    def _least_loaded(self, preferred: _Server | None) -> _Server:
        idlest = min((server for server in self._servers if server.up), key=lambda server: (server.load, server.begun))
        if preferred is not None and preferred.up and preferred.load <= idlest.load + _SLACK:
            return preferred
        return idlest

    async def _wait_for_any(self) -> None:
        while not any(server.up for server in self._servers):
            remaining = self._out_since + self._settings.patience_seconds - time.monotonic()
            try:
                async with asyncio.timeout(max(0.0, remaining)):
                    await self._any_up.wait()
            except TimeoutError:
                many = f"none of {len(self._servers)} servers" if len(self._servers) > 1 else "no server"
                urls = ", ".join(server.endpoint.url for server in self._servers)
                raise InfrastructureError(
                    f"{many} could be reached for {self._settings.patience_seconds:g} seconds ({urls}: "
                    f"{self._reason}): start it, then run the same command again"
                ) from None

    def _strike(self, server: _Server, error: AttemptError) -> None:
        """Counts a failure, and leaves the server where it is one too many."""
        server.strikes += 1
        others = any(other.up for other in self._servers if other is not server)
        rest = min(error.pause_seconds or 0.0, self._settings.patience_seconds) if others else 0.0
        if not server.up or (error.reached and server.strikes < _STRIKES and rest <= _LONGEST_PAUSE):
            return
        server.up = False
        self.lost = True
        server.outages += 1
        self._reason = str(error)
        server.probing = asyncio.create_task(self._revive(server, rest))
        if rest > _LONGEST_PAUSE:
            note(f"{server.endpoint.url} asks for a pause of {rest:g} seconds ({error}); going on with the others")
        elif others:
            note(f"{server.endpoint.url} is gone ({error}); going on with the others")
        else:
            self._any_up.clear()
            self._out_since = time.monotonic()
            note(f"{server.endpoint.url} is gone ({error}); waiting up to {self._settings.patience_seconds:g} seconds")

    async def _revive(self, server: _Server, rest: float) -> None:
        """Leaves a server alone as long as it asks for, then probes it until it answers, less and less often."""
        pause = 0.25 * 2.0 ** min(server.outages, 6)
        await asyncio.sleep(rest)
        while True:
            await asyncio.sleep(min(pause, _LONGEST_PROBE_PAUSE) * random.uniform(0.5, 1))
            if await server.endpoint.alive():
                break
            pause *= 2
        server.up = True
        server.strikes = _STRIKES - 1  # on probation: one more failure is enough
        self._any_up.set()
        note(f"{server.endpoint.url} is back")

    async def close(self) -> None:
        """Ends the probes and closes the connections."""
        probes = [server.probing for server in self._servers if server.probing is not None]
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        for server in self._servers:
            await server.endpoint.close()
