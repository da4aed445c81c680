"""The commands that start a training on a Ray cluster, as a script that every node runs with its part."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from calmstorm.settings import RlSettings
from calmstorm.training.verl.plugin import VARIABLE

PORT = 6379
"""Of the head; Ray's own default."""

_SCRIPT = """\
#!/bin/sh
# Reinforcement by verl on {nodes} nodes with {processes} GPUs each. Every node has the same environment (calmstorm with
# the extra 'verl', and vLLM) and sees this directory under the same path. One command a node, then one on the first:
#
#   sh {script} head             on the first node
#   sh {script} node FIRST       on each other node; FIRST is the first one's address
#   sh {script} train            on the first node, once all have joined; the same again resumes
#   sh {script} stop             on every node, when all is done
set -e
cd {folder}
export {variable}=cuda RAY_USAGE_STATS_ENABLED=0
case "$1" in
    head) ray start --head --port={port} --num-gpus={processes} ;;
    node) ray start --address="$2:{port}" --num-gpus={processes} ;;
    train)
        joined=$(python -c 'import ray; ray.init("auto", log_to_driver=False, logging_level="error"); \
print(sum(node["Alive"] for node in ray.nodes()))')
        test "$joined" -ge {nodes} || {{ echo "$joined of {nodes} nodes have joined" >&2; exit 1; }}
        RAY_ADDRESS=auto {command} ;;
    stop) ray stop ;;
    *) echo "name a part: head, node FIRST, train or stop" >&2; exit 2 ;;
esac
"""


def launch_script(settings: RlSettings, words: Sequence[str], script: Path, folder: Path) -> str:
    """Returns the script.

    Args:
        settings: Nodes, and processes on each.
        words: The command that trains, as it was typed.
        script: Where the script will stand.
        folder: Where the command was typed.
    """
    return _SCRIPT.format(
        nodes=settings.nodes,
        processes=settings.processes,
        script=shlex.quote(str(script)),
        folder=shlex.quote(str(folder)),
        variable=VARIABLE,
        port=PORT,
        command=shlex.join(words),
    )


def launch_lines(settings: RlSettings, script: Path) -> list[str]:
    """Returns what to run where, for a person."""
    name = shlex.quote(str(script))
    return [
        f"sh {name} head         # on the first of {settings.nodes} nodes",
        f"sh {name} node FIRST   # on each other one; FIRST is the first one's address",
        f"sh {name} train        # on the first, once all have joined",
    ]
