"""TRL's GRPO on rollouts that are made elsewhere, with a loss that goes through the model group by group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from calmstorm.settings import RlSettings
from calmstorm.training.cpu.scoring import score
from calmstorm.training.rollouts import TokenRecord
from calmstorm.training.trl.session import QuietTrainer, Session

Scores = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
"""Log-probabilities and entropies of completion tokens, and an auxiliary loss that dense models do not have."""


class GroupwiseGrpo(QuietTrainer, GRPOTrainer):  # type: ignore[misc]
    """GRPO whose loss goes through the model group by group, in passes of at most `micro_batch` rollouts.

    The loss and its gradient are TRL's own, pass by pass, weighted so that their sum is that of the whole mini-batch.
    This saves, without changing either: padding, since a pass is trimmed to its longest row; rows without an advantage,
    whose gradient is exactly zero; and, on a CPU, all but one run over a group's common prompt.
    """

    def __init__(self, *, micro_batch: int, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(**arguments)
        self.micro_batch = micro_batch

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:  # noqa: ANN401
        passes = self._passes(inputs)
        if not passes:  # nothing to learn: one token keeps the gradients defined, and its loss is exactly zero
            return self._loss_of(model, inputs, [0], most_tokens=1)
        *first, last = passes
        reported = torch.zeros((), device=inputs["advantages"].device)
        for rows in first:
            loss = self._loss_of(model, inputs, rows)
            self.accelerator.backward(loss)
            reported += loss.detach()
        return self._loss_of(model, inputs, last) + reported

    def _passes(self, inputs: Mapping[str, Any]) -> list[list[int]]:
        """Returns the rows of each pass: one prompt, like length, and only rows that have a gradient; may be none."""
        lengths = inputs["completion_mask"].sum(1).tolist()
        groups: dict[tuple[int, ...], list[int]] = {}
        for row, prompt in enumerate(inputs["prompt_ids"].tolist()):
            groups.setdefault(tuple(prompt), []).append(row)
        has_gradient = inputs["advantages"].ne(0).tolist() if self.beta == 0 else [True] * len(lengths)
        passes = []
        for group in groups.values():
            rows = sorted((row for row in group if has_gradient[row]), key=lengths.__getitem__)
            passes += [rows[at : at + self.micro_batch] for at in range(0, len(rows), self.micro_batch)]
        return passes

    def _loss_of(
        self,
        model: Any,  # noqa: ANN401
        inputs: Mapping[str, Any],
        rows: list[int],
        most_tokens: int | None = None,
    ) -> torch.Tensor:
        prompt = int(inputs["prompt_mask"][rows].sum(1).max())
        completion = int(inputs["completion_mask"][rows].sum(1).max())
        completion = completion if most_tokens is None else min(completion, most_tokens)

        def select(name: str, value: Any) -> Any:  # noqa: ANN401
            if not isinstance(value, torch.Tensor) or value.ndim == 0:
                return value
            if value.ndim == 1:
                return value[rows]
            return value[rows, -prompt:] if name.startswith("prompt") else value[rows, :completion]

        selected = {name: select(name, value) for name, value in inputs.items()}
        # grpo and dr_grpo take the mean over rows; dapo divides by the tokens of the whole batch already.
        share = 1.0 if self.loss_type == "dapo" else len(rows) / len(inputs["advantages"])
        loss: torch.Tensor = super()._compute_loss(model, selected)
        return loss * share

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,  # noqa: ANN401
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Scores:
        if input_ids.device.type != "cpu":
            scores: Scores = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
            return scores
        model = self.accelerator.unwrap_model(model)
        with self.accelerator.autocast():
            logprobs, entropies, _ = score(model, input_ids, attention_mask, logits_to_keep, self.temperature)
        return logprobs, entropies, None


def reinforce(
    session: Session, roll_out: Callable[[list[int]], list[TokenRecord]], prompts: int, settings: RlSettings
) -> None:
    """Runs TRL's GRPOTrainer on rollouts that `roll_out` makes.

    Args:
        session: What is trained, and where its checkpoints are.
        roll_out: Gets numbers of prompts, each repeated `samples` times in a row; returns a record for each of them.
        prompts: How many prompts the whole training has; they are used once each, in order.
        settings: Objective, sizes and rates.
    """

    def rollout_func(numbers: list[str], trainer: object) -> dict[str, Any]:
        records = roll_out([int(number) for number in numbers])
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
        per_device_train_batch_size=settings.mini_batch * settings.samples,
        gradient_accumulation_steps=1,
        steps_per_generation=settings.prompts_per_step // settings.mini_batch,
        num_generations=settings.samples,
        max_completion_length=settings.response_tokens,
        num_iterations=1,
        shuffle_dataset=False,
        loss_type=settings.objective,
        scale_rewards="none" if settings.objective == "dr_grpo" else "group",
        beta=settings.kl,
        epsilon=settings.clip,
        temperature=settings.temperature,
        top_p=settings.top_p,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=settings.gradient_norm,
        remove_unused_columns=False,
        **session.arguments(),
    )
    session.run(
        GroupwiseGrpo,
        micro_batch=settings.micro_batch,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in range(prompts)]}),
        reward_funcs=[reward],
        rollout_func=rollout_func,
    )
