"""From a checkpoint of verl to a plain Hugging Face directory, by verl's own merger of shards (bfloat16)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from calmstorm.errors import InfrastructureError
from calmstorm.training.verl.process import environment

_LOG = "merge.log"


def export(checkpoint: Path, work: Path) -> Path:
    """Merges the shards of a checkpoint; returns the staged directory of model and tokenizer.

    Args:
        checkpoint: `global_step_<n>`.
        work: Work directory of the training.

    Raises:
        InfrastructureError: The merger failed.
    """
    staged = work / "model"
    shutil.rmtree(staged, ignore_errors=True)
    words = ["-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    places = ["--local_dir", str(checkpoint / "actor"), "--target_dir", str(staged)]
    log = work / _LOG
    with log.open("wb") as output:
        merged = subprocess.run(  # noqa: S603  our own command
            [sys.executable, *words, *places],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(work, "cpu"),
            check=False,
        )
    if merged.returncode:
        raise InfrastructureError(f"verl could not merge {checkpoint} (status {merged.returncode}): see {log}")
    return staged
