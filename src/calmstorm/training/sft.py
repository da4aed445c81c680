"""Supervised fine-tuning on golden trajectories: the gentle first stage (paper section 3.3, table 5).

Which tokens are learned is decided in `calmstorm.training.encode`. A killed training goes on from its last complete
checkpoint when it is called again with the same arguments. Under a launcher every process calls it alike and trains
with its share of each batch; the first writes the files.
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
from calmstorm.settings import LocalSettings, SftSettings
from calmstorm.training.checkpoints import open_work, publish
from calmstorm.training.encode import Example, encode
from calmstorm.training.policy import load_policy
from calmstorm.training.ranks import in_agreement, launched, part, world_size
from calmstorm.training.rows import schedule
from calmstorm.training.trl.session import Logs, Session, save_trained
from calmstorm.training.trl.sft import fine_tune

PACE = ("checkpoint_steps", "micro_batch", "processes", "nodes")
"""Settings that may be others when a training goes on."""


class SftStep(Record):
    """One optimizer step; a line of `sft.jsonl`."""

    step: int
    """From 1."""
    epoch: float
    """Passes over the data made so far."""
    loss: float
    """Mean cross-entropy of the learned tokens, nats."""
    validation_loss: float | None = None
    """Mean over the held-out trajectories of their mean cross-entropy, nats, where the step was validated."""
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
    validated: int = 0
    """Trajectories that were held out for validation."""
    best_step: int | None = None
    """Whose weights are the model, where there was validation; None means the last one's."""


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

    def load(local: LocalSettings | None = None) -> LocalReasoner:
        return load_policy(directory, prompt, settings, seed, local)

    policy = load()
    with in_agreement():
        learned, held_out = split(golden, settings.validation, seed)
        examples, left_out = _examples(policy, learned, settings.sequence_tokens)
        validation = _examples(policy, held_out, settings.sequence_tokens)[0] if held_out else []
        sequences = max(1, round(settings.epochs * len(examples)))
        plan = schedule(examples, sequences, settings, seed)
    steps = math.ceil(sequences / settings.batch)
    identity = {
        "settings": [settings.model_dump(exclude=set(PACE)), seed],
        "processes": world_size(),
        "model": str(directory.resolve()),
        "prompt": policy.prompt,
        "trajectories": [example.input_ids for example in (*examples, *validation)],
    }
    work = open_work(output_dir, identity)

    def log(step: int, logs: Logs, seconds: float) -> None:
        epoch = min(step * settings.batch, sequences) / len(examples)
        rate, validated = logs["learning_rate"], logs.get("eval_loss")
        on_log(
            SftStep(
                step=step,
                epoch=epoch,
                loss=logs["loss"],
                validation_loss=validated,
                learning_rate=rate,
                seconds=seconds,
            )
        )

    session = Session(
        policy,
        work,
        seed,
        steps,
        settings.checkpoint_steps,
        log,
        sharding=settings.sharding,
        pass_tokens=plan.longest,
        validates=bool(validation),
    )
    trainer = fine_tune(session, plan, validation, settings)
    save_trained(trainer, policy, lambda: load(LocalSettings(device="cpu")), work / "model")
    publish(work / "model", policy.prompt, output_dir)
    if not launched():
        part()
    return SftResult(
        trajectories=len(examples),
        left_out=left_out,
        learned_tokens=sum(example.learned for example in examples),
        steps=steps,
        validated=len(validation),
        best_step=trainer.state.best_global_step if validation else None,
    )


def split(
    golden: Sequence[GoldenTrajectory], share: float, seed: int
) -> tuple[list[GoldenTrajectory], list[GoldenTrajectory]]:
    """Holds out all trajectories of some problems.

    Args:
        golden: What there is.
        share: Of the problems that is held out; at least one problem where it is above 0.
        seed: Which problems.

    Returns:
        What is learned, and what is held out.

    Raises:
        InputError: Nothing would be left to learn.
    """
    problems = sorted({item.trajectory.problem_id for item in golden})
    count = max(1, round(share * len(problems))) if share else 0
    if count >= len(problems) and count:
        raise InputError(
            f"validation is {share}; of {len(problems)} problems it would hold out {count} and leave none to learn: "
            "lower sft.validation or curate more problems"
        )
    held_out = {*random.Random(seed).sample(problems, count)}
    learned = [item for item in golden if item.trajectory.problem_id not in held_out]
    return learned, [item for item in golden if item.trajectory.problem_id in held_out]


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
