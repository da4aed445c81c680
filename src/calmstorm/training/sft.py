"""Supervised fine-tuning on golden trajectories: the gentle first stage (paper section 3.3, table 5).

Which tokens are learned is decided in `calmstorm.training.encode`. A killed training goes on from its last complete
checkpoint when it is called again with the same arguments. Not covered: packing, more than one process.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from calmstorm.errors import InputError
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.weights import model_directory
from calmstorm.records import GoldenTrajectory, Record
from calmstorm.settings import SftSettings
from calmstorm.training.checkpoints import open_work, publish
from calmstorm.training.encode import Example, encode
from calmstorm.training.lora import merge_adapters
from calmstorm.training.policy import load_policy
from calmstorm.training.trl.session import Logs, Session
from calmstorm.training.trl.sft import fine_tune

BUCKET_BATCHES = 16
"""Batches among which sequences are sorted by length: enough to save most padding, few enough to keep the shuffle."""


class SftStep(Record):
    """One optimizer step; a line of `sft.jsonl`."""

    step: int
    """From 1."""
    epoch: float
    """Passes over the data made so far."""
    loss: float
    """Mean cross-entropy of the learned tokens, nats."""
    learning_rate: float
    seconds: float


class SftResult(Record):
    """What a fine-tuning was made of."""

    trajectories: int
    left_out: int
    """Trajectories longer than `sequence_tokens`."""
    learned_tokens: int
    """Of one epoch."""
    steps: int


def train_sft(
    model: str | Path,
    golden: Sequence[GoldenTrajectory],
    output_dir: Path,
    settings: SftSettings,
    *,
    prompt: str | None = None,
    seed: int = 1,
    on_log: Callable[[SftStep], None] = lambda step: None,
) -> SftResult:
    """Fine-tunes a model on golden trajectories and writes it as a plain Hugging Face directory.

    Args:
        model: Directory or hub id of the model to start from.
        golden: What to learn; must come from a Reasoner with the same tokenizer.
        output_dir: Must not exist; appears when training is complete.
        settings: The paper's table 5, or a recipe's.
        prompt: Name of the prompt that the trajectories answer; None means the one that the model asks for.
        seed: Order of the data.
        on_log: Gets every step. After a resume, steps after the last checkpoint come again: drop earlier lines with a
            step above `completed_updates(output_dir)` before calling.

    Raises:
        InputError: Nothing to learn, token ids missing, the output exists, or an unfinished training with other
            arguments is in its place.
    """
    directory = model_directory(model)
    policy = load_policy(directory, prompt, settings, seed)
    examples, left_out = _examples(policy, golden, settings.sequence_tokens)
    rows = max(1, round(settings.epochs * len(examples)))
    steps = math.ceil(rows / settings.batch)
    identity = {
        "settings": [settings.model_dump(exclude={"checkpoint_steps", "micro_batch"}), seed],
        "model": str(directory.resolve()),
        "prompt": policy.prompt,
        "trajectories": [example.input_ids for example in examples],
    }
    work = open_work(output_dir, identity)

    def log(step: int, logs: Logs, seconds: float) -> None:
        epoch = min(step * settings.batch, rows) / len(examples)
        on_log(SftStep(step=step, epoch=epoch, loss=logs["loss"], learning_rate=logs["learning_rate"], seconds=seconds))

    order = bucketed_order([len(example.input_ids) for example in examples], rows, settings.batch, seed)
    fine_tune(Session(policy, work, seed, steps, settings.checkpoint_steps, log), examples, order, settings)
    merge_adapters(policy.model)
    publish(policy.save(work / "model"), policy.prompt, output_dir)
    learned = sum(example.learned for example in examples)
    return SftResult(trajectories=len(examples), left_out=left_out, learned_tokens=learned, steps=steps)


def bucketed_order(lengths: Sequence[int], rows: int, batch: int, seed: int) -> list[int]:
    """Returns the order in which sequences are used: shuffled epoch by epoch, neighbours of like length.

    Args:
        lengths: Tokens of each sequence.
        rows: How many indexes to return; more than there are sequences means several epochs.
        batch: Sequences per optimizer step.
        seed: Of the shuffle.
    """
    shuffle = random.Random(seed)
    stream: list[int] = []
    while len(stream) < rows:
        epoch = list(range(len(lengths)))
        shuffle.shuffle(epoch)
        stream += epoch[: rows - len(stream)]
    order: list[int] = []
    for start in range(0, rows, batch * BUCKET_BATCHES):
        chunk = sorted(stream[start : start + batch * BUCKET_BATCHES], key=lengths.__getitem__)
        batches = [chunk[at : at + batch] for at in range(0, len(chunk), batch)]
        ragged = batches.pop() if len(batches[-1]) < batch else []  # only the last batch of all may be smaller
        shuffle.shuffle(batches)
        order += [index for full in batches for index in full] + ragged
    return order


def _examples(policy: LocalReasoner, golden: Sequence[GoldenTrajectory], limit: int) -> tuple[list[Example], int]:
    """Returns the sequences of at most `limit` tokens, and how many are longer."""
    encoded = [encode(policy.render(item.question), item.trajectory, policy.end_of_turn) for item in golden]
    fitting = [example for example in encoded if len(example.input_ids) <= limit]
    if not fitting:
        raise InputError(
            f"there is nothing to fine-tune on: {len(golden)} golden trajectories, {len(encoded)} of them longer than "
            f"sequence_tokens = {limit}: curate more problems or raise sft.sequence_tokens"
        )
    return fitting, len(encoded) - len(fitting)
