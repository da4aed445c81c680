"""TRL's fine-tuning over sequences whose tokens, labels, rows and order are given.

TRL's loss is fused with the language-model head: logits are made in tiles, never all at once, on a CPU too.
"""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset
from transformers import Trainer
from transformers.utils.import_utils import is_flash_attn_2_available
from trl import SFTConfig, SFTTrainer

from calmstorm.settings import SftSettings
from calmstorm.training.cpu.attention import right_padded
from calmstorm.training.encode import Example
from calmstorm.training.rows import Row, Schedule
from calmstorm.training.trl.session import QuietTrainer, Session


class QuietSft(QuietTrainer, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer, silent."""


def fine_tune(session: Session, schedule: Schedule, validation: Sequence[Example], settings: SftSettings) -> Trainer:
    """Runs TRL's SFTTrainer over the rows of a schedule; returns the trainer when it is done.

    Args:
        session: What is trained.
        schedule: All rows of the training, in order.
        validation: Sequences whose loss is taken at each checkpoint; may be none.
        settings: Rates and packing.
    """
    config = SFTConfig(
        per_device_train_batch_size=schedule.rows_per_pass,
        gradient_accumulation_steps=schedule.passes_per_step,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        padding_free=settings.packing,
        max_length=None,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.gradient_norm,
        **session.arguments(),
    )
    model = session.policy.model
    if settings.packing and model.device.type == "cuda" and is_flash_attn_2_available():
        model.set_attn_implementation("flash_attention_2")  # without it, transformers masks what is packed, at T x T
    with right_padded(model):
        return session.run(
            QuietSft,
            args=config,
            train_dataset=_dataset(schedule.rows, settings.packing),
            eval_dataset=_dataset([(example,) for example in validation], settings.packing) if validation else None,
        )


def _dataset(rows: Sequence[Row], packed: bool) -> Dataset:
    columns = {
        "input_ids": [[token for example in row for token in example.input_ids] for row in rows],
        "labels": [[label for example in row for label in example.labels] for row in rows],
    }
    if packed:
        columns["seq_lengths"] = [[len(example.input_ids) for example in row] for row in rows]
    return Dataset.from_dict(columns)
