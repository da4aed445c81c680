"""Fine-tunes a tiny model in each process of a launcher; the first prints its steps.

python -m tests.engines.train_ranks MODEL OUTPUT SETTINGS [STEP]: with SFT settings as JSON; killed after STEP.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from calmstorm.settings import SftSettings
from calmstorm.training import ranks
from calmstorm.training.sft import SftStep, train_sft
from calmstorm.training.trl import session
from tests.training.tiny_model import golden

DEFAULTS = {"learning_rate": 1e-2, "batch": 4, "micro_batch": 2, "epochs": 2, "checkpoint_steps": 2}


def main(model: Path, output: Path, settings: dict[str, object], last: int = 0) -> None:
    """Trains on trajectories whose learned tokens differ in number, so that processes get unequal shares."""
    session.bf16_pays = lambda: False  # what is compared is compared in float32

    def log(step: SftStep) -> None:
        if ranks.is_first():
            validated = "" if step.validation_loss is None else f"{step.validation_loss:.5f}"
            print("step", step.step, f"{step.loss:.5f}", validated, flush=True)
        if step.step == last:
            os.kill(os.getpid(), signal.SIGKILL)

    lessons = [golden(n, answer=n, hint="wait " * (n % 5)) for n in range(9)]
    given = SftSettings.model_validate(DEFAULTS | settings | {"processes": ranks.world_size()})
    result = train_sft(model, lessons, output, given, on_log=log)
    if ranks.is_first():
        print("best", result.best_step, flush=True)
    ranks.part()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]), *map(int, sys.argv[4:]))
