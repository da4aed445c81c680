"""CARFT through TRL: GRPO with a contrastive loss beside it (`training.carft` says which).

Behind the rollouts of each problem stands one row more: its annotated trajectory. It has no reward and no token that
counts, so that advantages and policy loss of the others are what they are without it. Before rewards are given, a pass
without gradient embeds all rows; the derivatives by these embeddings then wait for the passes of the update, which add
them to what they backpropagate. Weights must be the same in both: there is one update per rollout step.

The head is no part of the model: every process has the same copy and steps it with the mean gradient of all, its state
lies in the checkpoints, and the exported model knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from accelerate.utils import gather_object
from torch.nn.utils import clip_grad_norm_
from transformers import Trainer, TrainerCallback
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import pad

from calmstorm.settings import CarftSettings, RlSettings, derive_seed
from calmstorm.training.carft.contrast import Contrast
from calmstorm.training.carft.head import ContrastiveHead
from calmstorm.training.carft.losses import cotangents, partial_reward, similarities
from calmstorm.training.carft.views import Attempt, Response, View, ViewKey, group_views
from calmstorm.training.cpu.scoring import score
from calmstorm.training.generator import TrainedWeights
from calmstorm.training.ranks import is_first
from calmstorm.training.rollouts import TokenRecord
from calmstorm.training.trl.grpo import ArrangedGrpo, RollOut, Scores, reinforce
from calmstorm.training.trl.session import Session

HEAD = "contrastive_head.pt"
"""File of a checkpoint with head and optimizer of the head."""


@dataclass(frozen=True)
class Row:
    """A rollout, or the annotated trajectory of a problem, as the trainer gets it."""

    problem_id: str
    sample: int
    record: TokenRecord
    views: list[View]

    def masks(self, device: torch.device) -> torch.Tensor:
        """Returns (V, C), bool: the tokens of each view."""
        masks = torch.zeros(len(self.views), len(self.record.completion_ids), dtype=torch.bool, device=device)
        for place, view in enumerate(self.views):
            masks[place] = torch.tensor(view.tokens, device=device)
        return masks


@dataclass
class AnnotatedGroups:
    """Makes the rollouts of a step, and puts the annotated trajectory of each problem behind them."""

    contrast: Contrast
    samples: int
    roll_out: RollOut
    rows: list[Row] = field(default_factory=list)
    """Of the current step and this process, in the order of the records."""

    def __call__(self, numbers: list[int], weights: TrainedWeights) -> list[TokenRecord]:
        """Returns records of prompts that come `samples + 1` times in a row each."""
        size = self.samples + 1
        made = self.roll_out([number for at, number in enumerate(numbers) if at % size < self.samples], weights)
        self.rows = []
        for group, number in enumerate(numbers[::size]):
            self.rows += self._group(self.contrast.problem_ids[number], made[group * self.samples :][: self.samples])
        return [row.record for row in self.rows]

    def _group(self, problem_id: str, rollouts: Sequence[TokenRecord]) -> list[Row]:
        annotated = self.contrast.annotated.get(problem_id)
        attempts = [
            Attempt(
                Response(record.completion_ids, record.written), None if record.reward is None else record.reward > 0.5
            )
            for record in rollouts
        ]
        views = group_views(self.contrast.settings, problem_id, annotated, attempts)
        records = [*rollouts, _without_reward(rollouts[0], annotated)]
        return [
            Row(problem_id, sample, record, seen)
            for sample, (record, seen) in enumerate(zip(records, views, strict=True))
        ]


def _without_reward(beside: TokenRecord, annotated: Response | None) -> TokenRecord:
    """Returns a row that teaches nothing by the policy loss: the annotated trajectory, or a token in its place."""
    ids = annotated.token_ids if annotated is not None else beside.completion_ids[:1]
    return TokenRecord(
        prompt_ids=beside.prompt_ids,
        completion_ids=ids,
        logprobs=(0.0,) * len(ids),
        written=(False,) * len(ids),
        reward=None,
    )


class ContrastiveGrpo(ArrangedGrpo):
    """GRPO and a contrastive loss over the embeddings of all trajectories of a step, of every process."""

    def __init__(self, *, groups: AnnotatedGroups, seed: int, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(**arguments)
        self.groups = groups
        self.carft = groups.contrast.settings
        width = self.accelerator.unwrap_model(self.model).config.hidden_size
        head = ContrastiveHead(width, self.carft.dimensions, derive_seed(seed, "contrastive head"))
        self.head = head.to(self.accelerator.device)
        self.head_optimizer = torch.optim.AdamW(
            self.head.parameters(), lr=self.carft.head_learning_rate, weight_decay=0.0
        )
        self.add_callback(_HeadStep(self))
        self._hidden: torch.Tensor | None = None
        """(B, T, D), of the completions that were scored last."""
        self._cotangents: list[torch.Tensor | None] = []
        """Of each row of the step, (V, E); None where all are 0."""

    # ------------------------------------------------------------------ before the update

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:  # noqa: ANN401
        scored: dict[str, Any] = super()._generate_and_score_completions(inputs)
        scored["row"] = torch.arange(len(scored["advantages"]), device=scored["advantages"].device)
        return scored

    def _calculate_rewards(self, inputs: list[dict[str, Any]], *arguments: Any) -> torch.Tensor:  # noqa: ANN401
        for example, earned in zip(inputs, self._contrast(), strict=True):
            example["earned"] = earned
        rewards: torch.Tensor = super()._calculate_rewards(inputs, *arguments)
        return rewards

    def _contrast(self) -> list[float | None]:
        """Embeds and compares all rows of the step, keeps the derivatives, and returns the reward of each row."""
        rows = self.groups.rows
        own = [([view.key for view in row.views], z) for row, z in zip(rows, self._embed(rows), strict=True)]
        everyone: list[list[tuple[list[ViewKey], torch.Tensor]]] = gather_object([own])
        keys = [key for process in everyone for seen, _ in process for key in seen]
        embeddings = torch.cat([z for process in everyone for _, z in process])
        loss, derivatives = cotangents(embeddings, keys, self.carft)
        counts = [len(row.views) for row in rows]
        start = sum(len(seen) for process in everyone[: self.accelerator.process_index] for seen, _ in process)
        parts = derivatives[start : start + sum(counts)].split(counts)
        self._cotangents = [part.to(self.accelerator.device) if part.any() else None for part in parts]
        similarity = similarities(embeddings, keys)
        self._report(loss, keys, similarity)
        return [self._reward(row, similarity) for row in rows]

    def _reward(self, row: Row, similarity: Mapping[tuple[str, int], float]) -> float | None:
        if row.record.reward == 0 and row.record.answered:
            return partial_reward(self.carft, similarity.get((row.problem_id, row.sample)))
        return row.record.reward

    def _report(self, loss: float, keys: Sequence[ViewKey], similarity: Mapping[tuple[str, int], float]) -> None:
        metrics = self._metrics["train"]
        metrics["contrastive_loss"].append(loss)
        correct = {(key.problem_id, key.sample): key.correct for key in keys}
        for name, wanted in (("similarity_correct", True), ("similarity_wrong", False)):
            values = [value for rollout, value in similarity.items() if correct[rollout] is wanted]
            if values:
                metrics[name].append(fmean(values))

    @torch.no_grad()
    def _embed(self, rows: Sequence[Row]) -> list[torch.Tensor]:
        """Returns the embeddings of each row's views, (V, E), on the CPU.

        Every process has as many rows as the others, and runs as many passes: engines that shard weights count them.
        """
        size, device = self.args.per_device_train_batch_size, self.accelerator.device
        embedded = []
        with disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            for start in range(0, len(rows), size):
                chosen = rows[start : start + size]
                ids, mask, width = self._padded([row.record for row in chosen])
                self._score_pass(self.model, ids, mask, width)
                hidden = self._take_hidden()
                embedded += [
                    self.head(hidden[at, : len(row.record.completion_ids)], row.masks(device)).cpu()
                    for at, row in enumerate(chosen)
                ]
        return embedded

    def _padded(self, records: Sequence[TokenRecord]) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Returns token ids and mask (B, P + C), prompts padded on the left and completions on the right, and C."""
        prompts = [torch.tensor(record.prompt_ids) for record in records]
        completions = [torch.tensor(record.completion_ids) for record in records]
        ids, mask = (
            torch.cat([pad(left, value, padding_side="left"), pad(right, value, padding_side="right")], dim=1)
            for left, right, value in (
                (prompts, completions, self._tokenizer.pad_token_id),
                (list(map(torch.ones_like, prompts)), list(map(torch.ones_like, completions)), 0),
            )
        )
        device = self.accelerator.device
        return ids.to(device), mask.to(device), max(len(record.completion_ids) for record in records)

    # ------------------------------------------------------------------ the update

    def teaches(self, inputs: Mapping[str, Any]) -> list[bool]:
        """Returns which rows have a gradient: by the policy loss, or by the contrastive one."""
        rows = inputs["row"].tolist()
        by_policy = super().teaches(inputs)
        return [taught or self._cotangents[row] is not None for taught, row in zip(by_policy, rows, strict=True)]

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:  # noqa: ANN401
        """Returns the pass's share of the policy loss; its gradient is that of the contrastive loss too."""
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        hidden = self._take_hidden()
        run = [row for row, taught in zip(inputs["row"].tolist(), self.teaches(inputs), strict=True) if taught]
        shares = []
        for place, row in enumerate(run):
            cotangent = self._cotangents[row]
            if cotangent is not None:
                masks = self.groups.rows[row].masks(hidden.device)
                shares.append((self.head(hidden[place, : masks.shape[1]], masks) * cotangent).sum())
        if not shares:
            return loss
        # Gradients of processes are averaged, and those of passes added.
        share = torch.stack(shares).sum() * self.carft.coefficient * self.accelerator.num_processes
        total: torch.Tensor = loss + (share - share.detach())
        return total

    def _score_pass(
        self,
        model: Any,  # noqa: ANN401
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        **kwargs: Any,  # noqa: ANN401
    ) -> Scores:
        if self.shares_prompts:
            with self.accelerator.autocast():
                scored = score(
                    self.accelerator.unwrap_model(model), input_ids, attention_mask, logits_to_keep, self.temperature
                )
            self._hidden = scored.hidden
            return scored.logprobs, scored.entropies, None
        kept: list[torch.Tensor] = []
        norm = self.accelerator.unwrap_model(model).base_model.norm
        hook = norm.register_forward_hook(lambda module, given, output: kept.append(output))
        try:
            scores = super()._score_pass(model, input_ids, attention_mask, logits_to_keep, **kwargs)
        finally:
            hook.remove()
        self._hidden = kept[-1][:, -logits_to_keep:]
        return scores

    def _take_hidden(self) -> torch.Tensor:
        hidden, self._hidden = self._hidden, None
        assert hidden is not None  # noqa: S101 - scored just before
        return hidden

    # ------------------------------------------------------------------ the head

    def step_head(self) -> None:
        """Updates the head, in every process alike."""
        learned = False
        for parameter in self.head.parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self.accelerator.reduce(gradient, reduction="mean")
            learned = learned or bool(parameter.grad.any())
        if learned:
            clip_grad_norm_(self.head.parameters(), self.args.max_grad_norm)
            self.head_optimizer.step()
        self.head_optimizer.zero_grad()

    def _save_checkpoint(self, model: Any, trial: Any) -> None:  # noqa: ANN401
        super()._save_checkpoint(model, trial)
        if is_first():
            state = {"head": self.head.state_dict(), "optimizer": self.head_optimizer.state_dict()}
            torch.save(state, Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}" / HEAD)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            state = torch.load(Path(checkpoint) / HEAD, map_location=self.accelerator.device, weights_only=True)
            self.head.load_state_dict(state["head"])
            self.head_optimizer.load_state_dict(state["optimizer"])


class _HeadStep(TrainerCallback):
    """Steps the head when the model is stepped."""

    def __init__(self, trainer: ContrastiveGrpo) -> None:
        self._trainer = trainer

    def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        self._trainer.step_head()


def reinforce_contrastively(
    session: Session,
    roll_out: RollOut,
    prompts: int,
    settings: RlSettings,
    carft: CarftSettings,
    contrast: Contrast | None,
) -> Trainer:
    """Runs GRPO with the contrastive loss; returns the trainer.

    Args:
        session: As of `grpo.reinforce`.
        roll_out: As of `grpo.reinforce`.
        prompts: As of `grpo.reinforce`.
        settings: As of `grpo.reinforce`.
        carft: Variant and weights.
        contrast: None where the coefficient is 0: nothing is embedded then.
    """
    if contrast is None:
        return reinforce(session, _with_partial_rewards(roll_out, carft), prompts, settings)
    groups = AnnotatedGroups(contrast, settings.samples, roll_out)
    return reinforce(
        session,
        groups,
        prompts,
        settings,
        kind=ContrastiveGrpo,
        rows_per_problem=settings.samples + 1,
        groups=groups,
        seed=session.seed,
    )


def _with_partial_rewards(roll_out: RollOut, carft: CarftSettings) -> RollOut:
    def rewarded(numbers: list[int], weights: TrainedWeights) -> list[TokenRecord]:
        return [
            record.model_copy(update={"reward": partial_reward(carft, None)})
            if record.reward == 0 and record.answered
            else record
            for record in roll_out(numbers, weights)
        ]

    return rewarded
