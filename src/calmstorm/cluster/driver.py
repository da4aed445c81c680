"""The actor on every node: takes samples through the hint loop and sends each finished piece home at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from calmstorm.curation.loop import SampleProgress, Sink, hint_loop
from calmstorm.errors import CalmstormError, InfrastructureError
from calmstorm.interpreter import Interpreter
from calmstorm.intervener.protocol import Intervener
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.records import Intervention, Problem, Record, Review, Trajectory
from calmstorm.settings import Recipe


class Failure(Record):
    """Ends the pieces of a sample that could not be finished."""

    reason: str
    ends_the_run: bool
    """No other sample would fare better: a refused key, an unknown model."""


Piece = Trajectory | Intervention | Review | Failure


class Driver:
    """Curates samples on one node.

    Concurrency: `curate` may be called many times at once. Lifecycle: `open` comes first, `close` last.
    """

    def __init__(
        self, recipe: Recipe, open_reasoner: Callable[[], OpenedReasoner], open_intervener: Callable[[], Intervener]
    ) -> None:
        self._recipe = recipe
        self._open_reasoner, self._open_intervener = open_reasoner, open_intervener

    async def open(self) -> Failure | None:
        """Starts the interpreter and opens Reasoner and Intervener; returns what keeps them from it on this node."""
        try:
            self._interpreter = Interpreter(self._recipe.rollout.workers, self._recipe.rollout.tier)
            self._reasoner = self._open_reasoner().reasoner
            self._intervener = self._open_intervener()
        except CalmstormError as error:
            return Failure(reason=str(error), ends_the_run=not isinstance(error, InfrastructureError))
        return None

    async def curate(self, problem: Problem, sample: int, progress: SampleProgress) -> AsyncIterator[Piece]:
        """Yields what a sample comes to, piece by piece, in the order in which it is to be stored."""
        pieces: asyncio.Queue[Piece | None] = asyncio.Queue()
        work = asyncio.create_task(self._work(problem, sample, progress, pieces))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
        finally:
            work.cancel()

    async def _work(
        self, problem: Problem, sample: int, progress: SampleProgress, pieces: asyncio.Queue[Piece | None]
    ) -> None:
        put = pieces.put_nowait
        try:
            sink = Sink(trajectory=put, intervention=put, review=put)
            loop = hint_loop(self._recipe, self._reasoner, self._interpreter, self._intervener, sink)
            await loop.run(problem, sample, progress)
        except InfrastructureError as error:
            put(Failure(reason=str(error), ends_the_run=False))
        except CalmstormError as error:
            put(Failure(reason=str(error), ends_the_run=True))
        finally:
            put(None)

    async def close(self) -> None:
        """Ends the interpreter and the connections of this node."""
        await self._reasoner.close()
        await self._intervener.close()
        self._interpreter.close()
