"""The curation stage on a Ray cluster: hands out samples from here, and writes here what the drivers send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from calmstorm.cluster.session import cluster_session
from calmstorm.curation.loop import Sink
from calmstorm.intervener.protocol import Intervener
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.records import Problem, Stage
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe
from calmstorm.stages.curation import curate_with


def curate_on_cluster(
    run: RunDirectory,
    recipe: Recipe,
    problems: Sequence[Problem],
    address: str,
    open_reasoner: Callable[[], OpenedReasoner],
    open_intervener: Callable[[], Intervener],
) -> None:
    """Does what `calmstorm.stages.curation.curate` does, with drivers on the nodes of a cluster.

    Args:
        run: Receives all pieces at once.
        recipe: Bounds, sampling, samples, budget, prices and seed; `rollout.concurrency` and `rollout.workers` hold for
            each node.
        problems: What to curate on, with unique ids.
        address: As for `cluster_session`.
        open_reasoner: Opens the Reasoner on a node; must be picklable, as must the next.
        open_intervener: Opens the Intervener on a node.

    Raises:
        InputError: There is no cluster, or a node cannot open Reasoner or Intervener.
        MissingExtraError: Ray is not installed.
        InfrastructureError: Nothing works any more; what was finished is kept.
        UnfinishedError: Some samples are left open; all others are done.
        BudgetSpentError: The budget is spent.
    """
    with cluster_session(address) as nodes:
        from calmstorm.cluster.spread import SpreadLoop

        async def session() -> None:
            runners: list[SpreadLoop] = []

            def spread(sink: Sink, may_go_on: Callable[[], bool]) -> SpreadLoop:
                runners.append(SpreadLoop(recipe, open_reasoner, open_intervener, sink, may_go_on))
                return runners[-1]

            try:
                await curate_with(run, recipe, problems, spread, concurrency=nodes * recipe.rollout.concurrency)
            finally:
                for runner in runners:
                    await runner.close()

        with run.stage(Stage.CURATION):
            asyncio.run(session())
