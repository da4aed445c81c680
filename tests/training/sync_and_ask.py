"""A process of several that follow a training on servers: syncs twice and asks; `sync_and_ask.py MODEL URL WORK`.

It writes to WORK/rankN what came of each step, or the error that ended it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from calmstorm.errors import CalmstormError
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import Sampling
from calmstorm.settings import RlSettings, ServerSettings
from calmstorm.training.policy import load_policy
from calmstorm.training.ranks import barrier, in_any, is_first, rank
from calmstorm.training.server_generator import ServerGenerator


class Weights:
    """The first process writes; the others wait, as where weights are sharded."""

    def __init__(self, policy: LocalReasoner) -> None:
        self.policy = policy

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self.policy.model.named_parameters())

    def save(self, directory: Path) -> None:
        if is_first():
            self.policy.save(directory)
        barrier()


async def follow(model: str, url: str, work: Path) -> str:
    policy = load_policy(Path(model))
    settings = RlSettings(generator="server", sync="reload", servers=url, temperature=1.0)
    generator = ServerGenerator(policy, settings, ServerSettings(retries=0), work)
    said = []
    try:
        for step in (1, 2):
            await generator.sync(Weights(policy), step)
            sampling = Sampling(temperature=1.0, top_p=1.0, seed=rank())
            prompt = generator.reasoner.render("Q")
            written = await generator.reasoner.generate(prompt, stop=(), max_tokens=40, sampling=sampling)
            said.append(f"{len(written.token_ids or ())} {in_any(rank() == 1)} {in_any(False)}")
    except CalmstormError as error:
        said.append(f"{type(error).__name__}: {error}")
    finally:
        await generator.close()
    return ", ".join(said)


if __name__ == "__main__":
    work = Path(sys.argv[3])
    said = asyncio.run(follow(sys.argv[1], sys.argv[2], work))
    (work / f"rank{rank()}").write_text(said)
