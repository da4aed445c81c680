"""What fine-tuning and reinforcement learning have in common: arguments, callbacks, checkpoints, the trained weights.

One process trains float32 weights with bfloat16 arithmetic where the machine has it; several do the same on shares of
each batch, or on shares of the weights (`calmstorm.training.sharding`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from calmstorm.errors import WorkError
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.training.checkpoints import checkpoint_of, last_complete, mark_complete
from calmstorm.training.lora import merge_adapters
from calmstorm.training.ranks import PATIENCE, connect, is_first
from calmstorm.training.sharding import Sharding, trainer_arguments
from calmstorm.training.watching import PatienceEnded

Logs = Mapping[str, float]
"""What the Trainer logs after an update: `loss`, `grad_norm`, `learning_rate`, `eval_loss` and more."""
KEPT_VALUES = 2**24
"""Hidden values of a forward pass, over all layers, beyond which a CPU makes activations again for the gradient. A
layer keeps some 20 values for each of them."""


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
    sharding: Sharding = "none"
    pass_tokens: int = 0
    """Tokens of the longest forward pass of a training on whole sequences; 0 where prompts are shared."""
    validates: bool = False
    """Validation data is there: its loss is taken at each checkpoint, and the best checkpoint becomes the model."""

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments that every `TrainingArguments` of ours has."""
        validation = {
            "eval_strategy": "steps",
            "eval_steps": self.checkpoint_updates,
            "per_device_eval_batch_size": 1,
            "prediction_loss_only": True,
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            "greater_is_better": False,
        }
        if self.sharding != "none":
            connect(alone=True)
        return {
            **trainer_arguments(self.sharding, self._checkpointing()),
            **(validation if self.validates else {}),
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
            "use_cpu": self._on_cpu,
            "ddp_find_unused_parameters": False,
            "ddp_timeout": int(PATIENCE.total_seconds()),
            "bf16": bf16_pays(),
            "optim": "adamw_torch",
            "dataloader_num_workers": 0,
            "dataloader_pin_memory": False,
        }

    @property
    def _on_cpu(self) -> bool:
        return self.policy.model.device.type == "cpu"

    def _checkpointing(self) -> bool:
        """Whether activations are made again for the gradient: always on a GPU, and on a CPU where they are large."""
        config = self.policy.model.config
        return not self._on_cpu or self.pass_tokens * config.num_hidden_layers * config.hidden_size > KEPT_VALUES

    def run(self, kind: type[Trainer], **arguments: Any) -> Trainer:  # noqa: ANN401
        """Trains with a trainer of this kind, from the last complete checkpoint if there is one.

        Returns:
            The trainer, whose model is what was trained, or the best of it.

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
        checkpoint = last_complete(self.work)
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


def save_trained(trainer: Trainer, policy: LocalReasoner, whole: Callable[[], LocalReasoner], directory: Path) -> Path:
    """Writes what was trained as a plain Hugging Face directory, adapters merged; the first process does.

    Args:
        trainer: What `Session.run` returned.
        policy: What was trained.
        whole: Loads the model that the training began with, adapters included, on the CPU: the weights of a training
            that sharded them are put together in it.
        directory: Where to write.
    """
    if not (trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled):
        if is_first():
            merge_adapters(policy.model)
            policy.save(directory)
        return directory
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if is_first():
        unset_hf_deepspeed_config()  # while it is set, models are loaded as shards
        saved = whole()
        kept = {name: value for name, value in state.items() if name in saved.model.state_dict()}
        saved.model.load_state_dict(kept, strict=not saved.model.config.tie_word_embeddings)
        merge_adapters(saved.model)
        saved.model.to(next(iter(state.values())).dtype)
        saved.save(directory)
    return directory


class _UpdateCallback(TrainerCallback):
    """Hands each update's numbers on, and marks checkpoints as complete once they are written."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._since = time.monotonic()
        self._held: tuple[int, Logs, float] | None = None  # an update that is still to be validated

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        self._since = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        logs = kwargs["logs"]
        if "loss" not in logs:  # the summary at the end
            return
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        if control.should_evaluate:
            self._held = state.global_step, dict(logs), seconds
        else:
            self._session.on_update(state.global_step, logs, seconds)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        session = self._session
        if not session.kept_updates:
            return
        if state.global_step % session.kept_updates == 0:
            control.should_save = True
        best = session.best_update()
        state.best_model_checkpoint = str(checkpoint_of(session.work, best)) if best else None

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        if self._held is not None:
            step, logs, seconds = self._held
            self._session.on_update(step, {**logs, "eval_loss": kwargs["metrics"]["eval_loss"]}, seconds)
        self._held, self._since = None, time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def bf16_pays() -> bool:
    """Returns whether the machine computes in bfloat16 natively; elsewhere autocast is slower than float32."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
