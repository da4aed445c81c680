"""verl's trainers, with what rows of ours need, metrics, and the driver's part of CARFT.

A row without a token that the Reasoner wrote is no rollout: our machinery failed, or an annotated trajectory stands
there. verl knows no reward but a number, so such a row must be kept from its group by other means: it gets a group of
its own before the advantages are computed, and its mask is empty, so the policy's loss does not see it either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from transfer_queue import KVBatchMeta

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.settings import Recipe
from calmstorm.training.carft.losses import partial_reward
from calmstorm.training.verl.recipe import is_contrastive, recipe_of
from calmstorm.training.verl.rows import Row, RowKind, nested, read_fields, read_rows, write_fields

_Metrics = dict[str, Any]


class CalmTrainer:
    """Mixed into each of verl's trainers; `batch` is a `KVBatchMeta`, the keys of rows in the transfer queue."""

    config: Any
    role_worker_mapping: dict[Any, Any]

    def __init__(self, config: Any) -> None:  # noqa: ANN401
        self._recipe = recipe_of(config.actor_rollout_ref)
        self._contrast: Any = None
        _check(self._recipe)
        if is_contrastive(self._recipe):
            from calmstorm.training.verl.carft import Contrast

            self._contrast = Contrast(self._recipe, config)
        super().__init__(config)  # type: ignore[call-arg]

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()  # type: ignore[misc]
        if self._contrast is not None:
            self.role_worker_mapping = self._contrast.workers(self.role_worker_mapping)

    def _compute_old_log_prob(self, batch: Any, metrics: _Metrics) -> Any:  # noqa: ANN401
        if self._contrast is not None:
            self._contrast.choose_views(batch)
        batch = super()._compute_old_log_prob(batch, metrics)  # type: ignore[misc]
        if self._contrast is not None:
            metrics.update(self._contrast.differentiate(batch))
        return batch

    def _compute_advantage(self, batch: Any, metrics: _Metrics) -> Any:  # noqa: ANN401
        rows = read_rows(batch)
        metrics.update(_metrics(rows))
        gap = metrics["calm/logprob_gap"] = _logprob_gap(batch)
        allowed = self._recipe.rl.agreement
        # With other modes, part of a rollout may rightly come from older weights.
        if self.config.trainer.v1.trainer_mode == "sync" and gap > allowed:
            raise InfrastructureError(
                f"log-probabilities of rollout and trainer differ by {gap:.3g} nats on average; rl.agreement is "
                f"{allowed:g}: see that both compute with the same type and temperature, or raise rl.agreement"
            )
        self._reward_partly(batch, rows)
        groups = [row.group if row.kind is RowKind.ROLLOUT else f"{row.group}-{row.sample}" for row in rows]
        write_fields(batch, uid=groups)
        return super()._compute_advantage(batch, metrics)  # type: ignore[misc]

    def _reward_partly(self, batch: Any, rows: Sequence[Row]) -> None:  # noqa: ANN401
        """Rewards answers that can be read but are wrong, where the recipe says so."""
        carft = self._recipe.carft
        if self._recipe.rl.objective != "carft" or carft.partial_reward == "none":
            return
        scores = list(read_fields(batch, ["rm_scores"])["rm_scores"])
        for place, row in enumerate(rows):
            if row.kind is RowKind.ROLLOUT and row.answered and not row.reward:
                cosine = None if self._contrast is None else self._contrast.cosine(place)
                scores[place] = scores[place].clone()
                scores[place][-1] = partial_reward(carft, cosine)
        write_fields(batch, rm_scores=nested(scores))

    def _log_rollout_data(self, batch: Any, timing_raw: _Metrics, rollout_data_dir: str) -> None:  # noqa: ANN401
        """Leaves out of verl's dump of rollouts what is none."""
        rows = read_rows(batch)
        kept = [place for place, row in enumerate(rows) if row.kind in (RowKind.ROLLOUT, RowKind.FAILED)]
        rollouts = KVBatchMeta(
            partition_id=batch.partition_id,
            keys=[batch.keys[place] for place in kept],
            tags=[batch.tags[place] for place in kept],
        )
        super()._log_rollout_data(rollouts, timing_raw, rollout_data_dir)  # type: ignore[misc]


def extended(trainer: type) -> type:
    """Returns one of verl's trainers with what is ours."""
    return type(f"Calm{trainer.__name__}", (CalmTrainer, trainer), {"__module__": __name__})


def _check(recipe: Recipe) -> None:
    if recipe.rl.objective == "carft" and recipe.carft.partial_reward == "cosine" and not is_contrastive(recipe):
        raise InputError(
            "carft.partial_reward is 'cosine', but with carft.coefficient = 0 nothing is embedded: raise the "
            "coefficient or choose 'flat' or 'none'"
        )


def _metrics(rows: Sequence[Row]) -> _Metrics:
    """Returns what a step of ours reports; means are over the rollouts."""
    rollouts = [row for row in rows if row.kind is RowKind.ROLLOUT]
    groups: dict[str, set[float]] = {}
    for row in rollouts:
        groups.setdefault(row.group, set()).add(row.reward)
    return {
        "calm/reward": _mean([row.reward for row in rollouts]),
        "calm/response_tokens": _mean([len(row.token_ids) for row in rollouts]),
        "calm/code_blocks": _mean([row.executions for row in rollouts]),
        "calm/silent_groups": _mean([len(rewards) < 2 for rewards in groups.values()]),
        "calm/ungraded": float(sum(row.kind is RowKind.FAILED for row in rows)),
    }


def _logprob_gap(batch: Any) -> float:  # noqa: ANN401
    """Returns by how much log-probabilities of rollout and trainer differ on average, nats; 0 without rollouts."""
    data = read_fields(batch, ["response_mask", "rollout_log_probs", "old_log_probs"])
    columns = zip(data["response_mask"], data["rollout_log_probs"], data["old_log_probs"], strict=True)
    gaps = torch.cat([(old - drawn).abs()[mask.bool()] for mask, drawn, old in columns])
    gap = float(gaps.mean()) if len(gaps) else 0.0
    return gap if math.isfinite(gap) else math.inf


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
