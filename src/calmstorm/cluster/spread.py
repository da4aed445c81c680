"""Spreads samples over the drivers of a Ray cluster; stands in for the hint loop of one machine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from calmstorm.cluster.driver import Driver, Failure, Piece
from calmstorm.curation.loop import SampleProgress, Sink
from calmstorm.errors import InfrastructureError, InputError, MissingExtraError
from calmstorm.intervener.protocol import Intervener
from calmstorm.progress import note
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.records import Intervention, Problem, Review, Trajectory
from calmstorm.settings import Recipe

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:  # pragma: no cover - exercised by an install without extras
    raise MissingExtraError("ray", "cluster") from error

_LOOK_SECONDS = 2.0
"""The cluster is asked for nodes that came or went at most this often."""
_CLOSE_SECONDS = 10.0
_MOVES = 5
"""How often a sample is taken to another node because its own was lost."""


class SpreadLoop:
    """Has samples curated by drivers, one on every node of the cluster that this process has joined.

    `run` has the meaning of `HintLoop.run`. When a node is lost, its samples go on elsewhere from the last piece that
    was stored; nodes that join later get a driver too. Concurrency: `run` may be awaited by many tasks of one loop.
    """

    def __init__(
        self,
        recipe: Recipe,
        open_reasoner: Callable[[], OpenedReasoner],
        open_intervener: Callable[[], Intervener],
        sink: Sink,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """Prepares; drivers are started with the first sample.

        Args:
            recipe: Bounds, sampling and seed.
            open_reasoner: Opens the Reasoner, on each node.
            open_intervener: Opens the Intervener, on each node.
            sink: Receives every finished piece, in this process.
            may_go_on: Asked when a round ends; where it says no, the sample is left as it stands.
        """
        self._recipe, self._sink, self._may_go_on = recipe, sink, may_go_on
        self._arguments = (recipe, open_reasoner, open_intervener)
        self._drivers: dict[str, Any] = {}
        """Actors by node."""
        self._load: dict[str, int] = {}
        self._looked = 0.0
        self._looking = asyncio.Lock()

    async def run(self, problem: Problem, sample: int, progress: SampleProgress) -> SampleProgress:
        """Takes one sample from where it is to its end, on whatever nodes are there.

        Raises:
            InputError: The Reasoner or the Intervener refuses what it is asked, on any node.
            InfrastructureError: The sample could not be finished, or there is no node left.
        """
        for _ in range(_MOVES):
            node = await self._least_loaded()
            self._load[node] += 1
            try:
                await self._follow(self._drivers[node], problem, sample, progress)
                return progress
            except RayTaskError as error:
                raise InfrastructureError(f"the driver of node {node[:8]} failed: {error.cause}") from None
            except RayError:
                self._leave(node)
            finally:
                if node in self._load:
                    self._load[node] -= 1
        raise InfrastructureError(f"{_MOVES} nodes were lost while they worked on problem {problem.id}")

    async def close(self) -> None:
        """Ends the drivers."""
        for driver in self._drivers.values():
            with contextlib.suppress(RayError, TimeoutError):  # its node is gone; so is what it held
                await asyncio.wait_for(driver.close.remote(), _CLOSE_SECONDS)
            ray.kill(driver)
        self._drivers.clear()

    async def _follow(self, driver: Any, problem: Problem, sample: int, progress: SampleProgress) -> None:  # noqa: ANN401
        pieces = driver.curate.options(num_returns="streaming").remote(problem, sample, progress)
        try:
            async for reference in pieces:
                piece = await reference
                self._store(piece, progress)
                if isinstance(piece, Review) and not self._may_go_on():
                    ray.cancel(pieces)
                    return
        except asyncio.CancelledError:
            ray.cancel(pieces)
            raise

    def _store(self, piece: Piece, progress: SampleProgress) -> None:
        """Stores a piece before the next is looked at, as the hint loop of one machine does."""
        if isinstance(piece, Failure):
            raise (InputError if piece.ends_the_run else InfrastructureError)(piece.reason)
        if isinstance(piece, Trajectory):
            self._sink.trajectory(piece)
            progress.latest = piece
            progress.rounds += 1
        elif isinstance(piece, Intervention):
            self._sink.intervention(piece)
            progress.interventions.append(piece)
        else:
            self._sink.review(piece)
            progress.reviews.append(piece)

    async def _least_loaded(self) -> str:
        """Returns the node that has the least to do; waits for one where there is none.

        Raises:
            InfrastructureError: There is none for as long as servers are waited for.
        """
        patience = time.monotonic() + self._recipe.server.patience_seconds
        while True:
            await self._look()
            if self._load:
                return min(self._load, key=self._load.__getitem__)
            if time.monotonic() > patience:
                raise InfrastructureError("no node of the cluster is left: start nodes, then resume the run")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        """Starts drivers on nodes that have none."""
        async with self._looking:
            if self._load and time.monotonic() - self._looked < _LOOK_SECONDS:
                return
            nodes = {node["NodeID"] for node in await asyncio.to_thread(ray.nodes) if node["Alive"]}
            self._looked = time.monotonic()
            await asyncio.gather(*(self._start(node) for node in sorted(nodes - self._drivers.keys())))

    async def _start(self, node: str) -> None:
        options = {
            "num_cpus": 0,  # scripts are bounded by the interpreter's workers, not by Ray's accounts
            "max_concurrency": max(1, self._recipe.rollout.concurrency),
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
        }
        driver = ray.remote(Driver).options(**options).remote(*self._arguments)
        try:
            failure = await driver.open.remote()
        except RayError:
            return  # the node went as it came
        if failure is not None:
            raise (InputError if failure.ends_the_run else InfrastructureError)(f"node {node[:8]}: {failure.reason}")
        self._drivers[node], self._load[node] = driver, 0

    def _leave(self, node: str) -> None:
        if self._load.pop(node, None) is not None:
            del self._drivers[node]
            note(f"cluster: node {node[:8]} is lost; its samples go on elsewhere")
