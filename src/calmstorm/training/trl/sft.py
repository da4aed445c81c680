"""TRL's fine-tuning over sequences whose tokens, labels and order are given."""

from __future__ import annotations

from collections.abc import Sequence

from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from calmstorm.settings import SftSettings
from calmstorm.training.cpu.attention import right_padded
from calmstorm.training.encode import Example
from calmstorm.training.trl.session import QuietTrainer, Session


class _QuietSft(QuietTrainer, SFTTrainer):  # type: ignore[misc]
    pass


def fine_tune(session: Session, examples: Sequence[Example], order: Sequence[int], settings: SftSettings) -> None:
    """Runs TRL's SFTTrainer over `examples`, used in the order of the indexes in `order`."""
    dataset = Dataset.from_dict(
        {
            "input_ids": [list(example.input_ids) for example in examples],
            "labels": [list(example.labels) for example in examples],
        }
    )
    config = SFTConfig(
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.batch // settings.micro_batch,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.gradient_norm,
        **session.arguments(),
    )
    with right_padded(session.policy.model):
        session.run(_QuietSft, args=config, train_dataset=dataset.select(order))
