"""The one place that knows TRL and the Trainer below it; their versions are pinned, and `rollout_func` is experimental.

Everything above works with plain records: `Example` goes in for fine-tuning, `TokenRecord` for reinforcement, numbers
come out through callbacks. What differs from TRL's own behaviour, and why:

* No telemetry, no model card, no printing: progress is the caller's, through callbacks.
* The rows of a training are laid out beforehand in the order in which they are used, so that a resumed training sees
  exactly what an uninterrupted one would have; TRL's samplers restart their shuffle when resumed after an epoch.
* GRPO's loss goes through the model group by group: see `GroupwiseGrpo`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from calmstorm.training.attention import right_padded
from calmstorm.training.checkpoints import mark_complete
from calmstorm.training.encode import Example, TokenRecord
from calmstorm.training.scoring import score

Logs = Mapping[str, float]
"""What the Trainer logs after an update: `loss`, `grad_norm`, `learning_rate` and more."""


def silence() -> None:
    """Keeps TRL, transformers and datasets from talking to the terminal; errors still come through."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    for name in ("trl", "datasets", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)


def bf16_pays() -> bool:
    """Says whether the machine computes in bfloat16 natively; elsewhere autocast is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class _AfterUpdate(TrainerCallback):
    """Hands each update's numbers on, and declares checkpoints whole once they are."""

    def __init__(self, on_update: Callable[[int, Logs, float], None]) -> None:
        self._on_update = on_update
        self._since = time.monotonic()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        self._since = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        logs = kwargs["logs"]
        if "loss" not in logs:  # the summary at the end
            return
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        self._on_update(state.global_step, logs, seconds)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class _Quiet:
    """Neither telemetry nor model cards."""

    def _send_telemetry(self) -> None: ...

    def create_model_card(self, *args: Any, **kwargs: Any) -> None: ...  # noqa: ANN401


class _QuietSft(_Quiet, SFTTrainer):  # type: ignore[misc]
    pass


def common_arguments(work: Path, seed: int, updates: int, checkpoint_updates: int) -> dict[str, Any]:
    """Arguments that fine-tuning and reinforcement share."""
    return {
        "output_dir": str(work),
        "max_steps": updates,
        "seed": seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": checkpoint_updates,
        "save_total_limit": 2,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
        "bf16": bf16_pays(),
        "gradient_checkpointing": torch.cuda.is_available(),  # models that fit a CPU fit its memory
        "optim": "adamw_torch",
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
    }


def fine_tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Example],
    *,
    order: Sequence[int],
    micro_batch: int,
    batch: int,
    arguments: Mapping[str, Any],
    on_update: Callable[[int, Logs, float], None],
    resume_from: Path | None,
) -> None:
    """Runs TRL's SFTTrainer over `rows` in `order`; the model is changed in place.

    Args:
        model: on its device, float32.
        tokenizer: of the model.
        rows: the training sequences.
        order: indexes into `rows`, in the order of use.
        micro_batch: sequences per forward pass.
        batch: sequences per update; a multiple of `micro_batch`.
        arguments: further arguments of `SFTConfig`.
        on_update: gets the update's number, its logs and seconds.
        resume_from: a whole checkpoint, or None.
    """
    dataset = Dataset.from_dict(
        {"input_ids": [list(row.input_ids) for row in rows], "labels": [list(row.labels) for row in rows]}
    ).select(order)
    config = SFTConfig(
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=batch // micro_batch,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        **arguments,
    )
    trainer = _QuietSft(
        model=model, args=config, train_dataset=dataset, processing_class=tokenizer, callbacks=[_AfterUpdate(on_update)]
    )
    trainer.remove_callback(PrinterCallback)
    with right_padded(model):
        trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))


class _GroupwiseGrpo(_Quiet, GRPOTrainer):  # type: ignore[misc]
    """GRPO whose loss walks through the model group by group, in passes of a few rows.

    The loss and its gradient are TRL's own, pass by pass, weighted so that their sum is that of the whole mini-batch.
    It saves, without changing either: padding, since a pass is trimmed to its longest row; rows without an advantage,
    whose gradient is exactly zero; and, on a CPU, all but one run over a group's common prompt.
    """

    micro_batch: int = 1
    """Rows per pass."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:  # noqa: ANN401
        passes = self._passes(inputs)
        reported = torch.zeros((), device=inputs["advantages"].device)
        for rows in passes[:-1]:
            loss = self._loss_of(model, inputs, rows)
            self.accelerator.backward(loss)
            reported += loss.detach()
        return self._loss_of(model, inputs, passes[-1]) + reported

    def _passes(self, inputs: Mapping[str, Any]) -> list[list[int]]:
        """Returns the rows of each pass: same prompt, like length, nothing that teaches nothing."""
        lengths = inputs["completion_mask"].sum(1).tolist()
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, prompt in enumerate(inputs["prompt_ids"].tolist()):
            groups.setdefault(tuple(prompt), []).append(row)
        taught = inputs["advantages"].ne(0).tolist() if self.beta == 0 else [True] * len(lengths)
        passes = []
        for group in groups.values():
            rows = sorted((row for row in group if taught[row]), key=lengths.__getitem__)
            passes += [rows[at : at + self.micro_batch] for at in range(0, len(rows), self.micro_batch)]
        # With nothing to learn, one row keeps the gradients defined; its loss is exactly zero.
        return passes or [[min(range(len(lengths)), key=lengths.__getitem__)]]

    def _loss_of(self, model: Any, inputs: Mapping[str, Any], rows: list[int]) -> torch.Tensor:  # noqa: ANN401
        prompt = int(inputs["prompt_mask"][rows].sum(1).max())
        completion = int(inputs["completion_mask"][rows].sum(1).max())

        def taken(name: str, value: Any) -> Any:  # noqa: ANN401
            if not isinstance(value, torch.Tensor) or value.ndim == 0:
                return value
            if value.ndim == 1:
                return value[rows]
            return value[rows, -prompt:] if name.startswith("prompt") else value[rows, :completion]

        part = {name: taken(name, value) for name, value in inputs.items()}
        # grpo and dr_grpo take the mean over rows; dapo divides by the tokens of the whole batch already.
        share = 1.0 if self.loss_type == "dapo" else len(rows) / len(inputs["advantages"])
        loss: torch.Tensor = super()._compute_loss(model, part)
        return loss * share

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,  # noqa: ANN401
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        if input_ids.device.type != "cpu":
            scored: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
            scored = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
            return scored
        with self.accelerator.autocast():
            logprobs, entropies = score(
                self.accelerator.unwrap_model(model), input_ids, attention_mask, logits_to_keep, self.temperature
            )
        return logprobs, entropies, None


def reinforce(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    produce: Callable[[list[int]], list[TokenRecord]],
    *,
    rows: int,
    samples: int,
    prompts_per_step: int,
    mini_batch: int,
    micro_batch: int,
    response_tokens: int,
    arguments: Mapping[str, Any],
    on_update: Callable[[int, Logs, float], None],
    resume_from: Path | None,
) -> None:
    """Runs TRL's GRPOTrainer on rollouts that `produce` makes; the model is changed in place.

    Args:
        model: on its device, float32.
        tokenizer: of the model.
        produce: gets row numbers, each repeated `samples` times in a row, and returns one record for each.
        rows: number of prompts over the whole training; they are used once each, in order.
        samples: rollouts per prompt.
        prompts_per_step: prompts rolled out at once.
        mini_batch: prompts per update.
        micro_batch: rollouts per forward pass.
        response_tokens: limit of a response; `dr_grpo` divides by it.
        arguments: further arguments of `GRPOConfig`.
        on_update: gets the update's number, its logs and seconds.
        resume_from: a whole checkpoint, or None.
    """

    def rollout_func(prompts: list[str], trainer: object) -> dict[str, Any]:
        records = produce([int(prompt) for prompt in prompts])
        return {
            "prompt_ids": [list(record.prompt_ids) for record in records],
            "completion_ids": [list(record.completion_ids) for record in records],
            "logprobs": [list(record.logprobs) for record in records],
            "env_mask": [[int(written) for written in record.written] for record in records],
            "earned": [record.reward for record in records],
        }

    def reward(completions: list[str], earned: list[float | None], **_: object) -> list[float | None]:
        return earned

    config = GRPOConfig(
        per_device_train_batch_size=mini_batch * samples,
        gradient_accumulation_steps=1,
        steps_per_generation=prompts_per_step // mini_batch,
        num_generations=samples,
        max_completion_length=response_tokens,
        num_iterations=1,
        shuffle_dataset=False,
        scale_rewards="none" if arguments["loss_type"] == "dr_grpo" else "group",
        remove_unused_columns=False,
        **arguments,
    )
    trainer = _GroupwiseGrpo(
        model=model,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [str(row) for row in range(rows)]}),
        processing_class=tokenizer,
        reward_funcs=[reward],
        rollout_func=rollout_func,
        callbacks=[_AfterUpdate(on_update)],
    )
    trainer.micro_batch = micro_batch
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=None if resume_from is None else str(resume_from))
