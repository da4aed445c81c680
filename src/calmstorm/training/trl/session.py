"""What fine-tuning and reinforcement learning have in common: arguments, callbacks, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback

from calmstorm.errors import WorkError
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.training.checkpoints import checkpoint_of, last_complete, mark_complete
from calmstorm.training.ranks import barrier, is_first, on_first
from calmstorm.training.watching import PatienceEnded

Logs = Mapping[str, float]
"""What the Trainer logs after an update: `loss`, `grad_norm`, `learning_rate` and more."""


class QuietTrainer:
    """Mixed into TRL's trainers: neither telemetry nor model cards."""

    def _send_telemetry(self) -> None: ...

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Writes nothing: a card would name this machine's paths."""


@dataclass(frozen=True)
class Session:
    """A training through TRL."""

    policy: LocalReasoner
    """Its model is changed in place; what is trained of it is float32."""
    work: Path
    """Directory of the checkpoints; training goes on from the last complete one."""
    seed: int
    updates: int
    """Optimizer steps in all."""
    checkpoint_updates: int
    """Optimizer steps between checkpoints."""
    on_update: Callable[[int, Logs, float], None]
    """Gets the number of each update, its logs and seconds."""
    kept_updates: int = 0
    """Optimizer steps between checkpoints that may be the best; 0 where none is looked for."""
    best_update: Callable[[], int | None] = lambda: None
    """Optimizer step of the best checkpoint so far, which is kept beside the last two."""

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments that every `TrainingArguments` of ours has."""
        return {
            "output_dir": str(self.work),
            "max_steps": self.updates,
            "seed": self.seed,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "save_strategy": "steps",
            "save_steps": self.checkpoint_updates,
            # While the newest is being written, an older one is complete.
            "save_total_limit": 3 if self.kept_updates else 2,
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": not torch.cuda.is_available(),
            "bf16": bf16_pays(),
            "gradient_checkpointing": torch.cuda.is_available(),  # models that fit a CPU fit its memory
            "optim": "adamw_torch",
            "dataloader_num_workers": 0,
            "dataloader_pin_memory": False,
        }

    def run(self, kind: type[Trainer], **arguments: Any) -> Trainer:  # noqa: ANN401
        """Trains with a trainer of this kind, from the last complete checkpoint if there is one.

        Returns:
            The trainer, whose model is what was trained.

        Raises:
            WorkError: The GPU's memory does not suffice.
        """
        if arguments["args"].n_gpu > 1:
            arguments["args"]._n_gpu = 1  # torch's DataParallel would copy the model to each, and is wrong for GRPO
        trainer = kind(
            model=self.policy.model,
            processing_class=self.policy.codec.tokenizer,
            callbacks=[_UpdateCallback(self)],
            **arguments,
        )
        trainer.remove_callback(PrinterCallback)
        checkpoint = on_first(lambda: last_complete(self.work))
        try:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except torch.OutOfMemoryError as error:
            raise WorkError(
                f"the GPU's memory does not suffice ({str(error).splitlines()[0][:200]}): lower micro_batch or the "
                "token limits, or train adapters with lora_rank; calm plan says what a recipe needs"
            ) from None
        except PatienceEnded:
            pass  # the weights are those that were evaluated last
        return trainer

    def restore(self, trainer: Trainer, update: int) -> None:
        """Puts the weights of a checkpoint back into the model; every process takes part."""
        trainer.state.best_model_checkpoint = str(checkpoint_of(self.work, update))
        trainer._load_best_model()


class _UpdateCallback(TrainerCallback):
    """Hands each update's numbers on, and marks checkpoints as complete once they are written."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._since = time.monotonic()

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        self._since = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        logs = kwargs["logs"]
        if "loss" not in logs:  # the summary at the end
            return
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        self._session.on_update(state.global_step, logs, seconds)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        session = self._session
        if not session.kept_updates:
            return
        if state.global_step % session.kept_updates == 0:
            control.should_save = True
        best = session.best_update()
        state.best_model_checkpoint = str(checkpoint_of(session.work, best)) if best else None

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        barrier()  # every process writes a part of it
        if is_first():
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def bf16_pays() -> bool:
    """Returns whether the machine computes in bfloat16 natively; elsewhere autocast is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
