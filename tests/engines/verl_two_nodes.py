"""A local Ray cluster of two nodes, and which interpreters ran on it. Run in verl's environment, as a script.

Prints the cluster's address, looks for interpreters until its input ends, then prints what it found: by the name of
each actor, the node that it ran on and the process id of its first warm parent.
"""

from __future__ import annotations

import json
import sys
import threading

import ray
from ray.cluster_utils import Cluster
from ray.exceptions import RayError

from calmstorm.training.verl.recipe import INTERPRETER_NAME as NAME


def main() -> None:
    node = {"num_cpus": 16, "object_store_memory": 256 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "num_gpus": 1, "include_dashboard": False})
    cluster.add_node(**node, num_gpus=0)
    found: dict[str, tuple[str, int]] = {}
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        print("ADDRESS", cluster.address, flush=True)
        while not ended.wait(0.5):
            for actor in ray.util.list_named_actors(all_namespaces=True):
                name = actor["name"]
                if not name.startswith(NAME) or name in found:
                    continue
                try:
                    handle = ray.get_actor(name, actor["namespace"])
                    found[name] = ray.get(handle.process.remote(), timeout=60)
                except (RayError, ValueError):
                    continue  # it is starting, or has just ended
        print("RESULT", json.dumps(found), flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
