"""verl's trainers, with what a rollout of ours needs: rows that must not count, and metrics.

A row without a token that the Reasoner wrote is no rollout: our machinery failed, or an annotated trajectory stands
there. verl knows no reward but a number, so such a row must be kept from its group by other means: it gets a group of
its own before the advantages are computed, and its mask is empty, so no loss sees it either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
import transfer_queue
from verl.utils import tensordict_utils

from calmstorm.errors import InfrastructureError
from calmstorm.training.verl.recipe import recipe_of


class CalmTrainer:
    """Mixed into each of verl's trainers."""

    config: Any

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:  # noqa: ANN401
        settings = recipe_of(self.config.actor_rollout_ref).rl
        rows = _Rows(batch)
        metrics.update(rows.metrics())
        gap = metrics["calm/logprob_gap"]
        if self.config.trainer.v1.trainer_mode == "sync" and gap > settings.agreement:
            raise InfrastructureError(
                f"log-probabilities of rollout and trainer differ by {gap:.3g} nats on average; rl.agreement is "
                f"{settings.agreement:g}: see that both run the same weights and temperature, or raise rl.agreement"
            )
        rows.set_apart()
        return super()._compute_advantage(batch, metrics)  # type: ignore[misc]


def extended(trainer: type) -> type:
    """Returns one of verl's trainers with what is ours."""
    return type(f"Calm{trainer.__name__}", (CalmTrainer, trainer), {})


class _Rows:
    """The rows of a batch, as they lie in verl's transfer queue."""

    def __init__(self, batch: Any) -> None:  # noqa: ANN401
        self._batch = batch
        fields = ["uid", "response_mask", "rm_scores", "rollout_log_probs", "old_log_probs", "extra_fields"]
        data = transfer_queue.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        self._uids: list[str] = [str(uid) for uid in data["uid"]]
        self._masks = [mask.bool() for mask in data["response_mask"].unbind()]
        self._rewards = [float(scores.sum()) for scores in data["rm_scores"].unbind()]
        self._infos: list[dict[str, Any]] = [getattr(info, "data", info) for info in data["extra_fields"]]
        self._log_probs = [
            (old, drawn)
            for old, drawn in zip(data["old_log_probs"].unbind(), data["rollout_log_probs"].unbind(), strict=True)
        ]
        self.rollouts = [place for place, mask in enumerate(self._masks) if mask.any()]
        """Places of the rows in which the Reasoner wrote something."""

    def set_apart(self) -> None:
        """Gives each row that is no rollout a group of its own."""
        rollouts = {*self.rollouts}
        uids = [uid if place in rollouts else f"{uid}-{place}" for place, uid in enumerate(self._uids)]
        if uids != self._uids:
            fields = tensordict_utils.get_tensordict({"uid": uids})
            transfer_queue.kv_batch_put(keys=self._batch.keys, partition_id=self._batch.partition_id, fields=fields)

    def metrics(self) -> dict[str, float]:
        """Returns what a step of ours reports; means are over the rollouts."""
        rewards = [self._rewards[place] for place in self.rollouts]
        groups: dict[str, set[float]] = {}
        for place, reward in zip(self.rollouts, rewards, strict=True):
            groups.setdefault(self._uids[place], set()).add(reward)
        return {
            "calm/reward": _mean(rewards),
            "calm/response_tokens": _mean([len(self._masks[place]) for place in self.rollouts]),
            "calm/code_blocks": _mean([self._infos[place].get("executions", 0) for place in self.rollouts]),
            "calm/silent_groups": _mean([len(group) < 2 for group in groups.values()]),
            "calm/ungraded": float(sum(info.get("kind") == "failed" for info in self._infos)),
            "calm/logprob_gap": self._gap(),
        }

    def _gap(self) -> float:
        """Returns by how much log-probabilities of rollout and trainer differ on average, nats; 0 without rollouts."""
        gaps = [(old - drawn).abs()[mask] for (old, drawn), mask in zip(self._log_probs, self._masks, strict=True)]
        gap = float(torch.cat(gaps).mean()) if self.rollouts else 0.0
        return gap if math.isfinite(gap) else math.inf


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else 0.0
