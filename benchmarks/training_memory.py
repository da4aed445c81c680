"""Peak memory of a training step of a random Qwen3 with the real vocabulary, beside what `calm plan` computes for it.

    python benchmarks/training_memory.py [--only sft-128-16384,...] [--threads 1] [--json FILE]

Two layers, all 151,936 tokens, float32, one process, on a CPU: the real trainers of fine-tuning and of reinforcement.
Two updates, the first of short sequences; the second has gradients, optimizer and activations at once. Each case runs
in a process of its own; what counts is its largest resident set, without what was resident before the model was loaded.
Rollouts of reinforcement are made up, since only the trainer is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from calmstorm.commands.plan_geometry import geometry_of
from calmstorm.commands.plan_training import Needs, needs
from calmstorm.settings import RlSettings, SftSettings

VOCABULARY = 151_936
PROMPT = 512
"""Tokens of the prompt of a rollout."""
SHORT = 64
"""Tokens of what comes before the long sequence."""
TOLERANCE = 0.15
GIB = 2**30


class Case(NamedTuple):
    """A step that is measured."""

    stage: str
    """`sft` or `rl`."""
    hidden: int
    tokens: int
    """Of prompt and response."""
    tied: bool

    @property
    def name(self) -> str:
        """For `--only`."""
        return f"{self.stage}-{self.hidden}-{self.tokens}"


CASES = (
    Case("sft", 128, 16_384, True),
    Case("sft", 384, 6_144, False),
    Case("rl", 128, 16_384, True),
    Case("rl", 384, 6_144, False),
)


def planned(case: Case, model: Path) -> Needs:
    """Returns what the formula of `calm plan` says, for float32 on a CPU."""
    geometry = geometry_of(str(model))
    assert geometry is not None
    settings = SftSettings() if case.stage == "sft" else RlSettings()
    return needs(geometry, settings, case.tokens, rl=case.stage == "rl", on_cpu=True)


def write_model(case: Case, directory: Path) -> None:
    """Writes the random model, with the pocket tokenizer."""
    import torch
    from transformers import AutoTokenizer, Qwen3ForCausalLM

    from calmstorm.pocket.architecture import pocket_config
    from calmstorm.reasoner.opening import pocket_directory

    tokenizer = AutoTokenizer.from_pretrained(pocket_directory())
    torch.manual_seed(0)
    config = pocket_config(
        tokenizer,
        vocab_size=VOCABULARY,
        hidden_size=case.hidden,
        intermediate_size=4 * case.hidden,
        num_hidden_layers=2,
        num_attention_heads=case.hidden // 64,
        num_key_value_heads=case.hidden // 128,
        head_dim=64,
        max_position_embeddings=32_768,
        tie_word_embeddings=case.tied,
    )
    Qwen3ForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "calmstorm.json").write_text('{"prompt": "pocket-1"}')


def made_up(count: int) -> tuple[int, ...]:
    """Returns so many token ids, none of them special."""
    draw = random.Random(count)
    return tuple(draw.randrange(10, 1000) for _ in range(count))


def resident() -> int:
    """Returns the largest resident set of this process so far, bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def fine_tune(case: Case, model: Path, out: Path) -> int:
    """Fine-tunes twice on a short and a long trajectory; returns bytes after the second update."""
    from calmstorm.reasoner.codec import load_tokenizer
    from calmstorm.reasoner.local import LocalReasoner
    from calmstorm.records import Author, GoldenTrajectory, Span, SpanKind, StopReason, Trajectory
    from calmstorm.training.sft import train_sft

    end = int(load_tokenizer(str(model)).eos_token_id)
    prompt = len(LocalReasoner(model).render("Q").token_ids or ())

    def trajectory(name: str, tokens: int) -> GoldenTrajectory:
        ids = (*made_up(tokens - 1), end)
        span = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="", token_ids=ids)
        made = Trajectory(problem_id=name, sample=0, stage="curation", spans=(span,), stop_reason=StopReason.FINISHED)
        return GoldenTrajectory(trajectory=made, question="Q", interventions=(), edited_token_share=0.0)

    golden = [trajectory("short", SHORT), trajectory("long", case.tokens - prompt)]
    peaks: list[int] = []
    settings = SftSettings(batch=2, epochs=2, sequence_tokens=case.tokens)
    train_sft(model, golden, out, settings, on_log=lambda step: peaks.append(resident()))
    return peaks[1]


def reinforce(case: Case, model: Path, out: Path) -> int:
    """Reinforces on two short rollouts and on two long ones; returns bytes after the second update."""
    from calmstorm.training.policy import load_policy
    from calmstorm.training.rollouts import TokenRecord
    from calmstorm.training.trl import grpo
    from calmstorm.training.trl.session import Session

    peaks: list[int] = []
    settings = RlSettings(prompts_per_step=1, mini_batch=1, samples=2, agreement=1e9)
    session = Session(load_policy(model, None, settings), out, 1, 2, 10, lambda *_: peaks.append(resident()))

    def roll_out(rows: list[int], weights: object) -> list[TokenRecord]:
        length = case.tokens - PROMPT if rows[0] else SHORT
        return [
            TokenRecord(
                prompt_ids=made_up(PROMPT),
                completion_ids=made_up(length),
                logprobs=(-10.0,) * length,
                written=(True,) * length,
                reward=float(place),
            )
            for place, _ in enumerate(rows)
        ]

    grpo.reinforce(session, roll_out, 2, settings)
    return peaks[1]


def measure(case: Case, model: Path, threads: int) -> None:
    """Prints what a case took; the only thing that its process does."""
    import torch

    from calmstorm.training import sft  # noqa: F401  # what is imported is not what is measured
    from calmstorm.training.trl import grpo, session  # noqa: F401

    session.bf16_pays = lambda: False
    torch.set_num_threads(threads)
    before, started = resident(), time.monotonic()
    train = fine_tune if case.stage == "sft" else reinforce
    peak = train(case, model, model.with_name("out"))
    print(json.dumps({"bytes": peak - before, "seconds": time.monotonic() - started}))


def run(case: Case, threads: int) -> dict[str, Any]:
    """Measures a case in processes of its own, and compares it with the plan."""
    with tempfile.TemporaryDirectory(prefix="calm-bench-") as folder:
        model = Path(folder) / "model"
        # The C library is told to give freed memory back at once.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
        words = [sys.executable, __file__, "--part", json.dumps(case), "--threads", str(threads), "--model", str(model)]
        subprocess.run([*words, "--write"], check=True, capture_output=True)
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        taken = json.loads(done.stdout.splitlines()[-1])
        plan = planned(case, model)
    return {
        **case._asdict(),
        "measured_gib": taken["bytes"] / GIB,
        "planned_gib": plan.total / GIB,
        "ratio": plan.total / taken["bytes"],
        "parts_gib": {name: size / GIB for name, size in plan._asdict().items()},
        "seconds": taken["seconds"],
    }


def main(words: Sequence[str] | None = None) -> int:
    """Measures every case and prints a line each; 1 where one is further off than it should be."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", help=f"of {', '.join(case.name for case in CASES)}, separated by commas")
    options.add_argument("--threads", type=int, default=1, help="more only pay where no other work is done")
    options.add_argument("--json", type=Path, help="also write the numbers to this file")
    options.add_argument("--part", help=argparse.SUPPRESS)
    options.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args(words)
    if given.part:
        case = Case(*json.loads(given.part))
        write_model(case, given.model) if given.write else measure(case, given.model, given.threads)
        return 0
    rows = []
    for case in CASES:
        if given.only is None or case.name in given.only.split(","):
            rows.append(run(case, given.threads))
            row = rows[-1]
            print(
                f"{case.name:14} measured {row['measured_gib']:.2f} GiB, planned {row['planned_gib']:.2f} GiB, "
                f"{row['ratio'] - 1:+.1%}, {row['seconds']:.0f} s",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(any(abs(row["ratio"] - 1) > TOLERANCE for row in rows))


if __name__ == "__main__":
    sys.exit(main())
