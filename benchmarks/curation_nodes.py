"""What further nodes bring to a curation: samples per second without Ray, on one node, on two, and with one killed.

    OMP_NUM_THREADS=1 python benchmarks/curation_nodes.py [--samples 600] [--json FILE]

The nodes are Ray's, all on this machine, each with one interpreter worker that really runs the scripts; Reasoner and
Intervener are scripted and answer at once. So scripts and the loop are what takes time, and a second node can bring no
more than a second core does. In the last row a node is removed when a third of the pieces has come; it fails unless
every sample then ends with each of its rounds exactly once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from calmstorm.cluster.curation import curate_on_cluster
from calmstorm.interpreter import Interpreter
from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe, load_recipe
from calmstorm.stages import curate
from curation import problems, review, writer

TOKENS = 400
Work = Callable[[int, RunDirectory], float]
"""Curates so many samples into a run, and returns when the first review was there."""


def opened() -> OpenedReasoner:
    """Opens the scripted Reasoner."""
    return OpenedReasoner(writer(TOKENS), None)


def reviewer() -> ScriptedIntervener:
    """Opens the scripted Intervener."""
    return ScriptedIntervener(review)


def recipe() -> Recipe:
    """Returns the settings of every row."""
    changes = {"rollout.concurrency": "32", "rollout.response_tokens": "4000", "rollout.workers": "1"}
    return load_recipe(None, changes)


class Watch:
    """Looks at the reviews of a run while it is made: when the first came, and when a third of them is there."""

    def __init__(self, run: RunDirectory, third: int, at_third: Callable[[], object] | None) -> None:
        self._file, self._third, self._at_third = run.file("reviews"), third, at_third
        self._ended = threading.Event()
        self.first = 0.0
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(0.02):
            if not self._file.exists():
                continue
            self.first = self.first or time.perf_counter()
            if self._at_third is not None and self._file.read_bytes().count(b"\n") >= self._third:
                self._at_third()
                return

    def end(self) -> None:
        """Stops looking."""
        self._ended.set()
        self._thread.join()


def measured(count: int, work: Work) -> dict[str, float]:
    """Curates so many samples into a new run, and checks that nothing is lost or doubled."""
    with tempfile.TemporaryDirectory(prefix="calm-bench-") as folder, RunDirectory(Path(folder) / "run") as run:
        started = time.perf_counter()
        first = work(count, run)
        ended = time.perf_counter()
        keys = Counter(place.key for place in run.places())
    if len(keys) != 2 * count or set(keys.values()) != {1}:
        raise RuntimeError(f"{len(keys)} rounds of {2 * count}, {sum(n > 1 for n in keys.values())} doubled")
    return {"seconds_to_begin": first - started, "samples_per_second": count / (ended - first)}


def without_ray(count: int, run: RunDirectory) -> float:
    """Curates in this process; returns when the first review was there."""
    watch = Watch(run, count, None)
    with Interpreter(1) as interpreter:
        asyncio.run(curate(run, recipe(), problems(count), opened().reasoner, interpreter, reviewer()))
    watch.end()
    return watch.first


def with_ray(nodes: int, killed: bool, count: int, run: RunDirectory) -> float:
    """Curates on nodes of a cluster that is made for it; returns when the first review was there."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    others = [cluster.add_node(num_cpus=1) for _ in range(nodes - 1)]
    kill = partial(cluster.remove_node, others[0], False) if killed else None
    watch = Watch(run, 2 * count // 3, kill)
    try:
        curate_on_cluster(run, recipe(), problems(count), cluster.address, opened, reviewer)
    finally:
        watch.end()
        cluster.shutdown()
    return watch.first


def main() -> None:
    """Measures every row and prints it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, default=600)
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    given = options.parse_args()
    rows: dict[str, Work] = {
        "without Ray": without_ray,
        "one node": partial(with_ray, 1, False),
        "two nodes": partial(with_ray, 2, False),
        "two nodes, one killed": partial(with_ray, 2, True),
    }
    measures: dict[str, Any] = {}
    for name, work in rows.items():
        measures[name] = measured(given.samples, work)
        print(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in measures[name].items()), flush=True)
    if given.json:
        given.json.write_text(json.dumps({"samples": given.samples, "rows": measures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
