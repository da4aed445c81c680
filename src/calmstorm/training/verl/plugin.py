"""What verl loads in every process, through the entry point `verl.plugins`.

Loading does nothing unless CALM_VERL is set, so that calmstorm can be installed beside any other use of verl: to `cuda`
where verl finds its own accelerator, or to `cpu`, which also registers a platform without one. The variable has to be
set on every node. verl hides a plugin's failure at debug level; here it is logged before it is raised.
"""

from __future__ import annotations

import logging
import os
import traceback
from typing import Any

VARIABLE = "CALM_VERL"
"""Environment variable that says on what verl is to run: `cpu` or `cuda`; nothing is registered without it."""
AGENT_LOOP = "calmstorm"
"""Value of verl's `rollout.agent.default_agent_loop`."""
CPU_ROLLOUT = "calmstorm"
"""Value of verl's `rollout.name` for the engine of this package."""


def register() -> None:
    """Registers what CALM_VERL asks for."""
    device = os.environ.get(VARIABLE, "")
    if not device:
        return
    if device not in ("cpu", "cuda"):
        raise ValueError(f"{VARIABLE} is {device!r}; it must be 'cpu' or 'cuda': correct it")
    if device == "cpu":
        from calmstorm.training.verl.platform import use_cpu

        use_cpu()
        _register_rollout()
        import calmstorm.training.verl.weights  # noqa: F401  registers itself
    _register_agent_loop()
    _register_trainers()


def _register_rollout() -> None:
    from verl.workers.rollout import base
    from verl.workers.rollout.replica import RolloutReplicaRegistry

    def load() -> type:
        from calmstorm.training.verl.rollout import CpuReplica

        return CpuReplica

    RolloutReplicaRegistry.register(CPU_ROLLOUT, load)
    base._ROLLOUT_REGISTRY[(CPU_ROLLOUT, "async")] = "calmstorm.training.verl.rollout.CpuRollout"


def _register_agent_loop() -> None:
    from verl.experimental.agent_loop import agent_loop

    # By name, as verl's decorator would; the class itself is imported when the first rollout needs it.
    agent_loop._agent_loop_registry[AGENT_LOOP] = {"_target_": "calmstorm.training.verl.agent_loop.CalmAgentLoop"}


def _register_trainers() -> None:
    """Puts our trainers in place of verl's, under verl's names: any name but `sync` is given asynchronous behaviour."""
    from verl.trainer.ppo.v1 import trainer_base

    from calmstorm.training.verl.trainer import extended

    _mend_separate_async()
    for name, trainer in trainer_base.TRAINER_REGISTRY.items():
        trainer_base.TRAINER_REGISTRY[name] = extended(trainer)


def _mend_separate_async() -> None:
    """Lets mode `separate_async` start: verl 0.9.1 calls its logger with an argument of `print`, which ends the run."""
    from verl.trainer.ppo.v1 import trainer_separate_async

    info = trainer_separate_async.logger.info

    def without_flush(message: object, *args: object, flush: bool = False, **kwargs: Any) -> None:  # noqa: ANN401
        info(message, *args, **kwargs)

    trainer_separate_async.logger.info = without_flush


try:
    register()
except Exception:
    logging.getLogger(__name__).error("calmstorm's plugin of verl failed to load:\n%s", traceback.format_exc())
    raise
