"""CARFT on verl without a fork: a worker that sees hidden states, and the driver's part between its two passes.

    1. `Contrast.choose_views` says for each row which sets of tokens are embedded
    2. verl's pass for old log-probabilities also gives the embeddings (`CarftWorker.embed`)
    3. `Contrast.differentiate` computes the loss over the embeddings of all ranks, and its derivative by each of them
    4. in the update each micro-batch adds `(z * dL/dz).sum()`, which gives the gradient of the whole batch's loss

Between 2 and 4 the weights must not change, so there is one update per batch of rollouts, in mode `sync`. The annotated
trajectory of a problem is one more row of its group, which the agent loop reads instead of drawing it. The head lies
beside the model in checkpoints and is no part of the exported model.

The views of a row are bits of one integer per token, which travels like the tokens do.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import ray
import torch
from verl.single_controller.base.decorator import Dispatch, make_nd_compute_dataproto_dispatch_fn, register
from verl.utils import tensordict_utils
from verl.utils.device import get_device_id
from verl.workers.engine_workers import ActorRolloutRefWorker

from calmstorm.errors import InputError
from calmstorm.settings import Recipe, derive_seed
from calmstorm.training.carft.head import ContrastiveHead
from calmstorm.training.carft.losses import cotangents, similarities
from calmstorm.training.carft.views import Attempt, Response, View, ViewKey, group_views
from calmstorm.training.verl.recipe import recipe_of
from calmstorm.training.verl.rows import Row, RowKind, dense, nested, read_fields, read_rows, write_fields

_HEAD = "carft_head.pt"
_MOST_SAMPLES = 61
"""As many views of an annotated trajectory as bits of an integer are free, its whole one aside."""


def most_views(recipe: Recipe) -> int:
    """Returns how many views a row has at most: an annotated trajectory is seen whole, and as each rollout lacks it."""
    return 1 + recipe.rl.samples


class Contrast:
    """The driver's part."""

    def __init__(self, recipe: Recipe, config: Any) -> None:  # noqa: ANN401
        """Takes verl's whole configuration.

        Raises:
            InputError: Weights would change between the two passes, or verl is set up in a way that hides what the
                worker needs.
        """
        check(recipe, config)
        self._recipe = recipe
        self._views: list[list[View]] = []
        self._rows: list[Row] = []
        self._cosines: dict[tuple[str, int], float] = {}

    def workers(self, mapping: dict[Any, Any]) -> dict[Any, Any]:
        """Returns verl's workers by role, those that train replaced by ours."""
        return {role: ray.remote(CarftWorker) if "actor" in str(role) else worker for role, worker in mapping.items()}

    def choose_views(self, batch: Any) -> None:  # noqa: ANN401
        """Writes the views of each row into the queue, for both passes."""
        self._rows = read_rows(batch)
        self._views = [[] for _ in self._rows]
        groups: dict[str, list[int]] = {}
        for place, row in enumerate(self._rows):
            if row.kind is not RowKind.PADDING:
                groups.setdefault(row.group, []).append(place)
        for group, places in groups.items():
            self._choose(group, sorted(places, key=lambda place: self._rows[place].sample))
        write_fields(
            batch,
            carft_views=nested([_packed(row, views) for row, views in zip(self._rows, self._views, strict=True)]),
            carft_count=torch.tensor([len(views) for views in self._views]),
        )

    def _choose(self, group: str, places: list[int]) -> None:
        rows = {place: self._rows[place] for place in places}
        annotated = next((place for place, row in rows.items() if row.kind is RowKind.ANNOTATED), None)
        drawn = [place for place in places if place != annotated]
        attempts = [
            Attempt(
                Response(rows[place].token_ids, rows[place].written),
                rows[place].reward == 1.0 if rows[place].kind is RowKind.ROLLOUT else None,
            )
            for place in drawn
        ]
        known = None if annotated is None else Response(rows[annotated].token_ids, rows[annotated].written)
        *of_drawn, of_annotated = group_views(self._recipe.carft, group, known, attempts)
        for place, views in zip(drawn, of_drawn, strict=True):
            self._views[place] = views
        if annotated is not None:
            self._views[annotated] = of_annotated

    def differentiate(self, batch: Any) -> dict[str, float]:  # noqa: ANN401
        """Writes the derivative by each embedding into the queue; returns metrics."""
        settings = self._recipe.carft
        embedded = dense(read_fields(batch, ["carft_z"])["carft_z"]).float()
        embedded = embedded.view(len(self._rows), most_views(self._recipe), settings.dimensions)
        keys = [view.key for views in self._views for view in views]
        places = [(row, at) for row, views in enumerate(self._views) for at in range(len(views))]
        gradient = torch.zeros_like(embedded)
        loss, self._cosines = 0.0, {}
        if keys:
            rows, columns = (torch.tensor(column) for column in zip(*places, strict=True))
            flat = embedded[rows, columns]
            loss, derivative = cotangents(flat, keys, settings)
            gradient[rows, columns] = settings.coefficient * derivative
            self._cosines = similarities(flat, keys)
        write_fields(batch, carft_gradient=gradient.flatten(1))
        return {"carft/loss": loss, "carft/views": float(len(keys)), **self._similarity(keys)}

    def _similarity(self, keys: list[ViewKey]) -> dict[str, float]:
        correct = {(key.problem_id, key.sample): key.correct for key in keys}
        metrics = {}
        for name, wanted in (("carft/similarity_correct", True), ("carft/similarity_wrong", False)):
            values = [cosine for rollout, cosine in self._cosines.items() if correct[rollout] is wanted]
            if values:
                metrics[name] = fmean(values)
        return metrics

    def cosine(self, place: int) -> float | None:
        """Returns how similar a row is to the annotated trajectory of its problem; None where it has none."""
        views = self._views[place]
        return self._cosines.get((views[0].key.problem_id, views[0].key.sample)) if views else None


def check(recipe: Recipe, config: Any) -> None:  # noqa: ANN401
    """Refuses what CARFT cannot be computed under.

    Args:
        recipe: With the objective `carft`.
        config: verl's whole configuration.

    Raises:
        InputError: The first such setting.
    """
    rl, actor = recipe.rl, config.actor_rollout_ref.actor
    parallel = actor.fsdp_config.ulysses_sequence_parallel_size
    if rl.mode != "sync":
        raise InputError(
            f"rl.mode is '{rl.mode}'; CARFT needs the same weights in rollouts and both of its passes: set rl.mode to "
            "'sync'"
        )
    if actor.ppo_mini_batch_size != config.data.train_batch_size or actor.ppo_epochs != 1:
        raise InputError(
            f"rl.mini_batch is {rl.mini_batch} of {rl.prompts_per_step} problems a step; CARFT on verl makes one "
            "change of the weights a step: set rl.mini_batch to rl.prompts_per_step"
        )
    if actor.strategy != "fsdp2" or parallel != 1:
        raise InputError(
            f"actor.strategy is '{actor.strategy}' with {parallel} parts of a sequence; CARFT needs 'fsdp2' and whole "
            "sequences: set ulysses_sequence_parallel_size to 1"
        )
    if rl.samples > _MOST_SAMPLES:
        raise InputError(
            f"rl.samples is {rl.samples}; it must be <= {_MOST_SAMPLES} for CARFT on verl: lower rl.samples"
        )


def _packed(row: Row, views: list[View]) -> torch.Tensor:
    """Returns (C,) integers, one for each token of the response: bit v says whether view v has the token."""
    bits = torch.zeros(len(row.token_ids), dtype=torch.int64)
    for number, view in enumerate(views):
        bits |= torch.tensor(view.tokens, dtype=torch.int64) << number
    return bits


class CarftWorker(ActorRolloutRefWorker):  # type: ignore[misc]
    """verl's worker with a head on the final norm's output."""

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)  # type: ignore[untyped-decorator]
    def init_model(self) -> None:
        """Builds what verl builds, then the head."""
        super().init_model()
        self._recipe = recipe_of(self.config)
        engine, seed = self.actor.engine, derive_seed(self._recipe.seed, "contrastive head")
        hidden_size = self.actor.model_config.hf_config.hidden_size
        self._head = ContrastiveHead(hidden_size, self._recipe.carft.dimensions, seed).to(get_device_id())
        self._head_optimizer = torch.optim.AdamW(
            self._head.parameters(), self._recipe.carft.head_learning_rate, weight_decay=0.0
        )
        self._hidden: torch.Tensor | None = None
        engine.module.model.norm.register_forward_hook(self._keep)
        self._see_every_pass(engine)
        self.actor.set_loss_fn(self._with_contrast(self.loss_fn))

    def _keep(self, module: Any, inputs: Any, output: torch.Tensor) -> None:  # noqa: ANN401
        self._hidden = output

    def _see_every_pass(self, engine: Any) -> None:  # noqa: ANN401
        """Adds embeddings to what passes without gradient give."""
        inner = engine.forward_step

        def forward_step(micro_batch: Any, loss_function: Any, forward_only: bool) -> Any:  # noqa: ANN401
            loss, output = inner(micro_batch, loss_function, forward_only)
            if forward_only and "carft_views" in micro_batch:
                output["model_output"]["carft_z"] = self.embed(micro_batch).detach().flatten(1)
            return loss, output

        engine.forward_step = forward_step

    def _with_contrast(self, policy_loss: Any) -> Any:  # noqa: ANN401
        """Returns verl's loss with this micro-batch's part of the contrastive one."""
        samples = self._recipe.rl.samples

        def loss(model_output: Any, data: Any, dp_group: Any = None) -> Any:  # noqa: ANN401
            embedded = self.embed(data)
            gradient = dense(data["carft_gradient"]).to(embedded.device).view_as(embedded)
            # verl divides means over responses by all rows; the annotated ones are none.
            rows = tensordict_utils.get_non_tensor_data(data, "global_batch_size", None)
            tensordict_utils.assign_non_tensor(data, global_batch_size=rows * samples / (samples + 1))
            policy, metrics = policy_loss(model_output=model_output, data=data, dp_group=dp_group)
            ranks = tensordict_utils.get_non_tensor_data(data, "dp_size", 1)  # gradients are averaged over ranks
            return policy + ranks * (embedded * gradient).sum(), metrics

        return loss

    def embed(self, data: Any) -> torch.Tensor:  # noqa: ANN401
        """Embeds the views of the rows of the last pass.

        Args:
            data: The micro-batch of that pass.

        Returns:
            (B, V, E), with zeros behind the views of a row.
        """
        most = most_views(self._recipe)
        prompts = data["prompts"].offsets().diff().tolist()
        counts = dense(data["carft_count"]).flatten().tolist()
        rows = zip(self._hidden_rows(data), prompts, data["carft_views"].unbind(), counts, strict=True)
        embedded = []
        for hidden, prompt, bits, count in rows:
            numbers = torch.arange(int(count), device=hidden.device)[:, None]
            views = (bits.to(hidden.device)[None] >> numbers & 1).bool()  # (V, C)
            vectors = self._head(hidden[prompt : prompt + len(bits)], views)
            embedded.append(torch.nn.functional.pad(vectors, (0, 0, 0, most - int(count))))
        return torch.stack(embedded)

    def _hidden_rows(self, data: Any) -> list[torch.Tensor]:  # noqa: ANN401
        """Returns (T, D) for each row; verl pads rows on the right, or puts them one behind the other into one."""
        hidden, self._hidden = self._hidden, None
        if hidden is None:
            raise RuntimeError("the final norm was not run in this pass")
        offsets = data["input_ids"].offsets().tolist()
        spans = list(pairwise(offsets))
        if tensordict_utils.get_non_tensor_data(data, "use_remove_padding", True):
            return [hidden[0, start:end] for start, end in spans]
        return [hidden[row, : end - start] for row, (start, end) in enumerate(spans)]

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))  # type: ignore[untyped-decorator]
    def update_actor(self, data: Any) -> Any:  # noqa: ANN401
        """Updates model and head."""
        output = super().update_actor(data)
        group = self.actor.engine.get_data_parallel_group()
        for weight in self._head.parameters():
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            torch.distributed.all_reduce(weight.grad, op=torch.distributed.ReduceOp.SUM, group=group)
            weight.grad /= self.actor.engine.get_data_parallel_size()
        if all(bool(weight.grad.isfinite().all()) for weight in self._head.parameters() if weight.grad is not None):
            self._head_optimizer.step()
        self._head_optimizer.zero_grad()
        return output

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)  # type: ignore[untyped-decorator]
    def save_checkpoint(
        self, local_path: str, hdfs_path: str | None = None, global_step: int = 0, max_ckpt_to_keep: int | None = None
    ) -> None:
        """Saves what verl saves, and the head, which is the same on all ranks."""
        super().save_checkpoint(local_path, hdfs_path, global_step, max_ckpt_to_keep)
        if torch.distributed.get_rank() == 0:
            state = {"head": self._head.state_dict(), "optimizer": self._head_optimizer.state_dict()}
            torch.save(state, Path(local_path) / _HEAD)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)  # type: ignore[untyped-decorator]
    def load_checkpoint(
        self, local_path: str, hdfs_path: str | None = None, del_local_after_load: bool = False
    ) -> None:
        """Loads what verl loads, and the head."""
        state = torch.load(Path(local_path) / _HEAD, map_location=get_device_id(), weights_only=True)
        self._head.load_state_dict(state["head"])
        self._head_optimizer.load_state_dict(state["optimizer"])
        super().load_checkpoint(local_path, hdfs_path, del_local_after_load)
