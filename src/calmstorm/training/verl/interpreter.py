"""One interpreter on each node that runs agent loops, shared by all of them: an actor with warm parents of its own."""

from __future__ import annotations

from functools import cache
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from calmstorm.errors import InfrastructureError
from calmstorm.interpreter import Interpreter, Limits
from calmstorm.records import Execution
from calmstorm.training.verl.recipe import INTERPRETER_NAME

_RETRIES = 2
"""How often an execution is begun again because the actor died under it; a script starts in a fresh state each time."""
_WAITING = 1000
"""Executions that may wait for a worker of the interpreter at once."""


class NodeInterpreter:
    """The actor: the interpreter of a node."""

    def __init__(self, workers: int, tier: str) -> None:
        self._interpreter = Interpreter(workers=workers, tier=tier)

    async def run(self, code: str | bytes, limits: Limits | None) -> Execution:
        """Runs a script on this node."""
        return await self._interpreter.arun(code, limits)

    async def process(self) -> tuple[str, int]:
        """Returns the node, and the process id of the interpreter's first warm parent."""
        return ray.get_runtime_context().get_node_id(), self._interpreter.pid


class NodeRunner:
    """Runs code on this node's interpreter, which is started by whoever needs it first.

    The actor belongs to the process that started it and ends with it; the others then start another one. Ray restarts
    it when it dies by itself. Concurrency: as `Interpreter.arun`.
    """

    def __init__(self, workers: int, tier: str) -> None:
        """Starts nothing.

        Args:
            workers: Scripts that run at the same time on the node.
            tier: Isolation of the scripts.
        """
        self._workers, self._tier = workers, tier
        self._actor: Any = None

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        """Runs a script in a fresh state.

        Raises:
            InfrastructureError: The actor was lost; the next call starts another one.
        """
        try:
            if self._actor is None:
                self._actor = self._start()
            execution: Execution = await self._actor.run.remote(code, limits)
            return execution
        except RayError as error:
            self._actor = None
            raise InfrastructureError(f"the interpreter of this node failed: {error}") from error

    def _start(self) -> Any:  # noqa: ANN401
        """Returns the actor of this node, a new one where there is none."""
        node = ray.get_runtime_context().get_node_id()
        options = {
            "name": INTERPRETER_NAME + node,
            "get_if_exists": True,
            "num_cpus": 0,  # scripts are bounded by the interpreter's workers, not by Ray's accounts
            "max_concurrency": _WAITING,
            "max_restarts": -1,
            "max_task_retries": _RETRIES,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
        }
        return ray.remote(NodeInterpreter).options(**options).remote(self._workers, self._tier)


@cache
def node_runner(workers: int, tier: str) -> NodeRunner:
    """Returns the way to this node's interpreter, one for all rollouts of this process."""
    return NodeRunner(workers, tier)
