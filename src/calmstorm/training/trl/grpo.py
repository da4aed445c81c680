"""TRL's GRPO on rollouts that are made elsewhere, with passes that hold what belongs together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate.utils import DistributedType
from datasets import Dataset
from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer

from calmstorm.errors import WorkError
from calmstorm.settings import RlSettings
from calmstorm.training.cpu.scoring import score
from calmstorm.training.generator import TrainedWeights
from calmstorm.training.passes import arrange, passes_per_update, spread
from calmstorm.training.ranks import world_size
from calmstorm.training.rollouts import TokenRecord
from calmstorm.training.trl.session import QuietTrainer, Session
from calmstorm.training.trl.weights import TrainerWeights

RollOut = Callable[[list[int], TrainedWeights], list[TokenRecord]]
"""Gets numbers of prompts, and the weights as they are now; returns a record for each of the prompts."""

Scores = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
"""Log-probabilities and entropies of completion tokens, and an auxiliary loss that dense models do not have."""

LOSS_TYPES = {"token_mean": "dapo", "sequence_mean": "grpo", "sequence_sum": "dr_grpo"}
"""What TRL calls each aggregation."""


class ArrangedGrpo(QuietTrainer, GRPOTrainer):  # type: ignore[misc]
    """GRPO whose passes hold rows of one problem and of like length, and run only those that teach.

    Loss and gradient of a mini-batch are TRL's own: a pass adds its share. What is saved, without changing either, is
    padding, rows whose gradient is exactly zero, and, on a CPU in one process, all but one run over a common prompt.
    Beyond TRL's own, whatever the generator: importance weights from trainer to generator, truncated per token, and a
    bound on how far the two may be apart.
    """

    def __init__(self, *, settings: RlSettings, **arguments: Any) -> None:  # noqa: ANN401
        super().__init__(**arguments)
        self._buffered_inputs: list[dict[str, Any]] | None = None
        self.settings = settings
        self._scored: Scores | None = None
        self._difference = torch.zeros(3, dtype=torch.float64)
        """Of generator and trainer since the last sync: sum, number of tokens, maximum."""

    # ------------------------------------------------------------------ passes

    def _prepare_inputs(self, generation_batch: Any) -> Any:  # noqa: ANN401
        """Returns the rows of the next pass; before the first of a step, the rollouts of the step are made."""
        place = self._step % self.args.steps_per_generation
        if place == 0 or self._buffered_inputs is None:
            self._difference.zero_()
            self._buffered_inputs = self._passes(self._generate_and_score_completions(generation_batch))
        return self._buffered_inputs[place]

    def _passes(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """Cuts this process's rollouts of a step into mini-batches, and those into passes."""
        accumulation, micro_batch = self.args.gradient_accumulation_steps, self.args.per_device_train_batch_size
        updates = self.args.steps_per_generation // accumulation
        written = learned(inputs).sum(1)
        # Mean over a mini-batch, not over the rollouts of a step as in TRL: tokens, and responses with any.
        totals = torch.stack([written, written > 0], dim=1).view(updates, -1, 2).sum(1)
        totals = self.accelerator.reduce(totals, reduction="sum")
        groups = [tuple(prompt) for prompt in inputs["prompt_ids"].tolist()]
        lengths = inputs["completion_mask"].sum(1).tolist()
        teaches = self.teaches(inputs)
        passes = []
        for update in range(updates):
            start, end = update * accumulation * micro_batch, (update + 1) * accumulation * micro_batch
            tokens, responses = totals[update].tolist()
            for rows in arrange(groups[start:end], lengths[start:end], teaches[start:end], micro_batch):
                chosen = select(inputs, [start + row for row in rows])
                # TRL takes it for the tokens of all updates of a step.
                chosen["num_items_in_batch"] = torch.tensor(float(tokens * updates), device=written.device)
                chosen["responses"] = max(1, responses)
                passes.append(chosen)
        return passes

    def teaches(self, inputs: Mapping[str, Any]) -> list[bool]:
        """Returns which rows have a gradient."""
        if self.beta != 0:
            taught: list[bool] = learned(inputs).sum(1).gt(0).tolist()
        else:
            taught = (inputs["advantages"].ne(0) & learned(inputs).sum(1).gt(0)).tolist()
        return taught

    # ------------------------------------------------------------------ loss

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:  # noqa: ANN401
        """Returns the share of the mini-batch's loss that a pass has.

        TRL gets all rows of the pass, since processes compare figures of each, but only those that teach have been run.
        """
        rows = [row for row, taught in enumerate(self.teaches(inputs)) if taught]
        self._scored = self._score_rows(model, inputs, rows)
        inputs = dict(inputs)
        run = torch.zeros_like(inputs["tool_mask"])
        run[rows] = 1
        inputs["tool_mask"] = inputs["tool_mask"] * run
        before = inputs.get("old_per_token_logps", self._scored[0]).detach()
        difference = before - inputs["sampling_per_token_logps"]
        self._check_agreement(difference.abs() * learned(inputs), learned(inputs))
        weights = difference.exp().clamp(max=self.settings.importance_cap)
        inputs["advantages"] = inputs["advantages"].unsqueeze(1) * weights
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        if self.loss_type == "dapo":
            return loss
        # TRL takes the mean over all rows of the mini-batch; those that failed do not count.
        passes = self.args.gradient_accumulation_steps * self.accelerator.num_processes
        share: float = len(run) * passes / inputs["responses"]
        return loss * share

    def _score_rows(self, model: Any, inputs: Mapping[str, Any], rows: list[int]) -> Scores:  # noqa: ANN401
        """Runs some rows of a pass, or where there are none a single token, since every pass has to be made.

        Returns:
            Log-probabilities and entropies of all rows (B, T); those that were not run have no gradient.
        """
        chosen = select(inputs, rows or [0])
        if not rows:
            for name, value in chosen.items():
                if isinstance(value, torch.Tensor) and value.ndim == 2:
                    chosen[name] = value[:, -1:] if name.startswith("prompt") else value[:, :1]
        width = chosen["completion_ids"].shape[1]
        logprobs, entropies, auxiliary = self._score(
            model,
            torch.cat([chosen["prompt_ids"], chosen["completion_ids"]], dim=1),
            torch.cat([chosen["prompt_mask"], chosen["completion_mask"]], dim=1),
            width,
            compute_entropy=True,
            compute_aux_loss=self.aux_loss_enabled,
        )
        nothing = torch.zeros(inputs["completion_ids"].shape, device=logprobs.device)
        # A ratio of one where nothing is run.
        all_logprobs = inputs.get("old_per_token_logps", nothing).to(logprobs.dtype).clone()
        all_entropies = nothing.clone()
        all_logprobs[rows or [0], :width] = logprobs
        if entropies is not None:
            all_entropies[rows or [0], :width] = entropies.to(nothing.dtype)
        return all_logprobs, all_entropies, auxiliary

    def _check_agreement(self, difference: torch.Tensor, mask: torch.Tensor) -> None:
        """Compares generator and trainer over the first mini-batch after a sync, before its update.

        Args:
            difference: (B, T), absolute, nats; 0 where `mask` is.
            mask: (B, T); 1 on written tokens.

        Raises:
            WorkError: They are further apart than `rl.agreement`; in every process.
        """
        place, last = self._step % self.args.steps_per_generation, self.args.gradient_accumulation_steps - 1
        if place > last:
            return
        own = self._difference
        own[:2] += torch.stack([difference.double().sum(), mask.sum().double()]).cpu()
        own[2] = max(own[2], difference.max().double().cpu())
        if place < last:
            return
        everyone = self.accelerator.gather(own.float().to(difference.device).unsqueeze(0))
        total, tokens = everyone[:, :2].sum(0).tolist()
        if not tokens:
            return
        mean = total / tokens
        self._metrics["train"]["logprob_difference"].append(mean)
        self._metrics["train"]["logprob_difference_max"].append(everyone[:, 2].max().item())
        if not mean <= self.settings.agreement:
            raise WorkError(
                f"log-probabilities of generator and trainer differ by {mean:.3g} nats per token on average; it must "
                f"be at most rl.agreement = {self.settings.agreement:g}: see that the generator has the weights in "
                "training and gives log-probabilities of the sampling distribution, or raise rl.agreement"
            )

    # ------------------------------------------------------------------ scores

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Scores:  # noqa: ANN401
        if self._scored is None:
            return self._score(*args, **kwargs)
        scored, self._scored = self._scored, None
        return scored

    def _score(
        self,
        model: Any,  # noqa: ANN401
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Scores:
        """Scores completions, `batch_size` rows at a time, each time as wide as the longest of them."""
        size = batch_size or len(input_ids)
        parts = []
        for start in range(0, len(input_ids), size):
            ids, mask = input_ids[start : start + size], attention_mask[start : start + size]
            prompt = int(mask[:, :-logits_to_keep].sum(1).max())
            width = max(1, int(mask[:, -logits_to_keep:].sum(1).max()))
            begin = ids.shape[1] - logits_to_keep
            columns = slice(begin - prompt, begin + width)
            logprobs, entropies, auxiliary = self._score_pass(model, ids[:, columns], mask[:, columns], width, **kwargs)
            padding = (0, logits_to_keep - width)
            if entropies is not None:
                entropies = torch.nn.functional.pad(entropies, padding)
            parts.append((torch.nn.functional.pad(logprobs, padding), entropies, auxiliary))
        found = [entropies for _, entropies, _ in parts if entropies is not None]
        losses = [auxiliary for _, _, auxiliary in parts if auxiliary is not None]
        return (
            torch.cat([logprobs for logprobs, _, _ in parts]),
            torch.cat(found) if found else None,
            torch.stack(losses).mean() if losses else None,
        )

    @property
    def shares_prompts(self) -> bool:
        """Whether rows with a common prompt are scored by one run over it; see `cpu.scoring`."""
        return bool(self.accelerator.device.type == "cpu" and self.accelerator.distributed_type == DistributedType.NO)

    def _score_pass(
        self,
        model: Any,  # noqa: ANN401
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        **kwargs: Any,  # noqa: ANN401
    ) -> Scores:
        if not self.shares_prompts:
            scores: Scores = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, **kwargs
            )
            return scores
        model = self.accelerator.unwrap_model(model)
        with self.accelerator.autocast():
            logprobs, entropies, _ = score(model, input_ids, attention_mask, logits_to_keep, self.temperature)
        return logprobs, entropies, None


def learned(inputs: Mapping[str, Any]) -> torch.Tensor:
    """Returns 1 on the tokens that count, 0 on others: (B, T)."""
    mask: torch.Tensor = inputs["completion_mask"] * inputs["tool_mask"]
    return mask


def select(inputs: Mapping[str, Any], rows: list[int]) -> dict[str, Any]:
    """Returns some rows of a batch."""
    return {
        name: value[rows] if isinstance(value, torch.Tensor) and value.ndim > 0 else value
        for name, value in inputs.items()
    }


def reinforce(
    session: Session,
    roll_out: RollOut,
    prompts: int,
    settings: RlSettings,
    *,
    kind: type[ArrangedGrpo] | None = None,
    rows_per_problem: int | None = None,
    **arguments: Any,  # noqa: ANN401
) -> Trainer:
    """Runs TRL's GRPOTrainer on rollouts that `roll_out` makes, and returns it.

    Args:
        session: What is trained, and where its checkpoints are.
        roll_out: Gets numbers of prompts, each repeated `samples` times in a row, and the weights as they are now;
            returns a record for each of them. Every process gets prompts of its own.
        prompts: How many prompts the whole training has; they are used once each, in order.
        settings: Objective, sizes and rates.
        kind: The trainer; None means that of GRPO alone.
        rows_per_problem: How often each prompt comes, where that is not `samples` times.
        arguments: Of that trainer, beyond those of every one.
    """

    def rollout_func(numbers: list[str], trainer: Any) -> dict[str, Any]:  # noqa: ANN401
        records = roll_out([int(number) for number in numbers], TrainerWeights(trainer, session.policy.codec.tokenizer))
        return {
            "prompt_ids": [list(record.prompt_ids) for record in records],
            "completion_ids": [list(record.completion_ids) for record in records],
            "logprobs": [list(record.logprobs) for record in records],
            # A rollout that our machinery failed counts nowhere.
            "env_mask": [[int(wrote and record.reward is not None) for wrote in record.written] for record in records],
            "earned": [record.reward for record in records],
        }

    def reward(completions: list[str], earned: list[float | None], **_: object) -> list[float | None]:
        return earned

    processes = world_size()
    group = rows_per_problem or settings.samples
    passes = passes_per_update(settings, processes, group)
    config = GRPOConfig(
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=passes,
        steps_per_generation=passes * (settings.prompts_per_step // settings.mini_batch),
        num_generations=group,
        max_completion_length=settings.response_tokens,
        num_iterations=1,
        shuffle_dataset=False,
        loss_type=LOSS_TYPES[settings.loss_aggregation],
        scale_rewards="none" if settings.objective == "dr_grpo" else "group",
        beta=settings.kl,
        epsilon=settings.clip,
        epsilon_high=settings.clip_above,
        temperature=settings.temperature,
        top_p=settings.top_p,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=settings.gradient_norm,
        remove_unused_columns=False,
        **session.arguments(),
    )
    return session.run(
        kind or ArrangedGrpo,
        settings=settings,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [str(number) for number in spread(prompts, settings, processes)]}),
        reward_funcs=[reward],
        rollout_func=rollout_func,
        **arguments,
    )
