"""Curation over the nodes of a real Ray cluster, two of them on this machine."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from calmstorm.curation.loop import SampleProgress, Sink
from calmstorm.errors import InputError
from calmstorm.records import LabelStatus, Problem, Trajectory
from calmstorm.settings import load_recipe
from tests.cluster.spread_case import slow_reasoner, strict_intervener

pytest.importorskip("ray", reason="Ray is not installed: pip install calmstorm[cluster]")

pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")]

RECIPE = load_recipe("pocket", {"rollout.concurrency": "8", "rollout.workers": "1"})
PROBLEMS = [Problem(id=f"p{n}", question="How much?", answer=400.0, status=LabelStatus.OPTIMAL) for n in range(24)]


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.second = nodes.add_node(num_cpus=1)
    yield nodes
    nodes.shutdown()


class Store:
    """What the one writer receives."""

    def __init__(self) -> None:
        self.pieces: list[tuple] = []
        self.trajectories: list[Trajectory] = []

    def keep(self, kind: str):
        def append(piece) -> None:
            self.pieces.append((kind, piece.problem_id, piece.sample, piece.round))
            if kind == "trajectory":
                self.trajectories.append(piece)

        return append

    def sink(self) -> Sink:
        return Sink(self.keep("trajectory"), self.keep("intervention"), self.keep("review"))


def spread(address: str, open_reasoner, kill=None) -> tuple[Store, list[SampleProgress]]:
    """Curates all problems; `kill` is called when a third of the pieces has come."""
    from calmstorm.cluster.session import cluster_session
    from calmstorm.cluster.spread import SpreadLoop

    store = Store()

    async def curate() -> list[SampleProgress]:
        loop = SpreadLoop(RECIPE, open_reasoner, strict_intervener, store.sink())
        tasks = [asyncio.create_task(loop.run(problem, 0, SampleProgress())) for problem in PROBLEMS]
        while kill is not None and len(store.pieces) < len(PROBLEMS) * 8 // 3:
            await asyncio.sleep(0.01)
        if kill is not None:
            await asyncio.to_thread(kill)
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            await loop.close()

    with cluster_session(address):
        return store, asyncio.run(curate())


def test_a_node_that_is_killed_loses_and_doubles_nothing(cluster, capsys) -> None:
    store, ended = spread(cluster.address, slow_reasoner, kill=lambda: cluster.remove_node(cluster.second, False))
    assert all(progress.flawless for progress in ended)
    expected = {
        *(("trajectory", p.id, 0, n) for p in PROBLEMS for n in range(3)),
        *(("intervention", p.id, 0, n) for p in PROBLEMS for n in range(2)),
        *(("review", p.id, 0, n) for p in PROBLEMS for n in range(3)),
    }
    assert Counter(store.pieces) == Counter(expected)
    assert "is lost; its samples go on elsewhere" in capsys.readouterr().err
    assert {t.executions[0].tier for t in store.trajectories if t.executions} <= {"namespaces", "landlock"}


def test_what_no_node_can_open_ends_the_run_in_one_line(cluster) -> None:
    def refused():
        raise InputError("the model is not there: copy it to each node")

    with pytest.raises(InputError, match=r"^node \w{8}: the model is not there: copy it to each node$"):
        spread(cluster.address, refused)


def test_an_address_without_a_cluster_is_refused() -> None:
    from calmstorm.cluster.session import cluster_session

    with pytest.raises(InputError) as refused, cluster_session("127.0.0.1:1"):
        raise AssertionError
    assert str(refused.value).startswith("--cluster is '127.0.0.1:1', where no Ray cluster answers")
