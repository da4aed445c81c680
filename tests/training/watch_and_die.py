"""Reinforces a tiny model in a run with evaluations while training, and kills itself before a given line of its log.

python -m tests.training.watch_and_die MODEL RUN LINE; 0 lets it finish. Started by a launcher, its processes train
together, on steps that two of them can share.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from calmstorm.records import Record
from calmstorm.runs import RunDirectory
from calmstorm.settings import RunConfig
from calmstorm.stages import keep_config, reinforce, shared_run
from calmstorm.training import ranks
from tests.training.tiny_model import EchoInterpreter, coin_problems

RL: dict[str, Any] = {
    "steps": 6,
    "prompts_per_step": 3,
    "samples": 4,
    "mini_batch": 3,
    "micro_batch": 4,
    "learning_rate": 1e-3,
    "temperature": 0.6,
    "response_tokens": 100,
    "checkpoint_steps": 3,
    "evaluation_steps": 2,
    "evaluation_problems": 4,
    "evaluation_samples": 4,
    "keep": "best",
}


class DyingRun(RunDirectory):
    """Kills its process before it writes a given line of rl.jsonl."""

    deadly = 0

    def append(self, name: str, record: Record | Mapping[str, object]) -> int:
        """Counts the lines that this process writes."""
        if name == "rl":
            self.deadly -= 1
            if self.deadly == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().append(name, record)


def settings(model: Path, **changes: Any) -> RunConfig:
    """Returns the settings of the run."""
    rollout, local = {"response_tokens": 100, "concurrency": 1}, {"device": "cpu"}
    return RunConfig.model_validate({"reasoner": str(model), "rollout": rollout, "rl": RL | changes, "local": local})


def main(model: Path, path: Path, line: int = 0, **changes: Any) -> None:
    """Trains on eight problems, of which four are held out."""
    with DyingRun(path) as run:
        run.deadly = line
        config = settings(model, **changes)
        keep_config(run, config)
        reinforce(run, config, model, coin_problems(8), EchoInterpreter())


def together(model: Path, path: Path) -> None:
    """Trains in as many processes as a launcher has started, as `calm rl` does."""
    processes = ranks.world_size()
    config = settings(model, steps=2, prompts_per_step=4, mini_batch=4, evaluation_steps=1, processes=processes)
    ranks.begin()
    with shared_run(path, lambda run: keep_config(run, config)) as run:
        reinforce(run, config, model, coin_problems(8), EchoInterpreter())
    ranks.part()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "LOCAL_RANK" in os.environ:
        together(Path(sys.argv[1]), Path(sys.argv[2]))
        sys.exit()
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
