"""Curates in processes that are killed at random moments, until one comes to the end.

    python -m tests.stages.curate_and_die RUN KILLS

Each curation is forked from this process, which has imported everything, so that a kill costs milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.reasoner.protocol import Completion, Prefix, Sampling
from calmstorm.reasoner.scripted import ByteCodec, ScriptedReasoner
from calmstorm.records import LabelStatus, Problem
from calmstorm.runs import RunDirectory
from calmstorm.settings import CurationSettings, load_recipe
from calmstorm.stages import curate, filter_golden
from tests.curation.curated_case import Runner, hesitant, strict

STRICT = CurationSettings(golden="strict")
PROBLEMS = [
    Problem(id=f"p{n}", question=f"How much is {n}?", answer=400.0, status=LabelStatus.OPTIMAL) for n in range(40)
]


class SlowReasoner(ScriptedReasoner):
    """Takes a moment for each completion, as a server does."""

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        await asyncio.sleep(0.002)
        return await super().generate(prefix, stop=stop, max_tokens=max_tokens, sampling=sampling)


def curated(path: Path) -> None:
    """Curates from where an earlier call was killed, and filters."""
    reasoner = SlowReasoner(hesitant(2), codec=ByteCodec())
    recipe = load_recipe(None, {"rollout.concurrency": "3", "curation.samples": "2"})
    with RunDirectory(path) as run:
        asyncio.run(curate(run, recipe, PROBLEMS, reasoner, Runner(), ScriptedIntervener(strict)))
        filter_golden(run, STRICT)


def main(path: Path, kills: int) -> None:
    draw = random.Random(kills)
    interrupted = 0
    while True:
        child = os.fork()
        if not child:
            curated(path)
            os._exit(0)
        if interrupted < kills:
            time.sleep(draw.uniform(0.002, 0.06))
            os.kill(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != -signal.SIGKILL:
            print(interrupted, status)
            return
        interrupted += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
