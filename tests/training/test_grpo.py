from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOTrainer

from calmstorm.errors import InputError, WorkError
from calmstorm.grading import graded_trajectory
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling, TokenCodec
from calmstorm.records import Author, LabelStatus, Span, SpanKind, Stage, StopReason, Usage
from calmstorm.rollout import Rollout
from calmstorm.settings import RlSettings, RolloutSettings
from calmstorm.training import steps as training_steps
from calmstorm.training.grpo import RlStep, step_order, train_grpo
from calmstorm.training.policy import load_policy
from calmstorm.training.rollouts import RlRollout, RolloutTask, TokenRecord, graded, token_record
from calmstorm.training.trl import grpo as trl_grpo
from calmstorm.training.trl import session as trl_session
from tests.training.tiny_model import EchoInterpreter, coin_problems

COIN = RlSettings(
    steps=2,
    prompts_per_step=2,
    samples=8,
    mini_batch=2,
    micro_batch=8,
    learning_rate=1e-3,
    temperature=0.6,
    response_tokens=120,
)
OBJECTIVES = ("grpo", "dr_grpo", "dapo")


def train(model: Path, output: Path, settings: RlSettings, **kwargs: Any) -> tuple[list[RlStep], list[RlRollout]]:
    steps: list[RlStep] = []
    rollouts: list[RlRollout] = []
    interpreter = kwargs.pop("interpreter", EchoInterpreter())
    train_grpo(
        model,
        kwargs.pop("problems", coin_problems()),
        output,
        settings,
        interpreter,
        rollouts=RolloutSettings(),
        on_step=steps.append,
        on_rollout=rollouts.append,
        **kwargs,
    )
    return steps, rollouts


def test_rewarded_answers_become_more_frequent(coin_model: Path, tmp_path: Path) -> None:
    settings = COIN.model_copy(update={"steps": 8, "prompts_per_step": 4, "mini_batch": 4})
    steps, rollouts = train(coin_model, tmp_path / "rl", settings)
    rewards = [step.reward for step in steps]
    assert sum(rewards[-2:]) / 2 > sum(rewards[:2]) / 2 + 0.15
    assert [step.step for step in steps] == list(range(1, 9))
    assert steps[0].code_blocks == pytest.approx(1.0, abs=0.2)
    assert steps[0].response_tokens > 40
    assert steps[0].grad_norm > 0
    assert 0 < steps[0].rollout_seconds < steps[0].seconds
    assert len({(made.step, made.problem_id, made.sample) for made in rollouts}) == 8 * 4 * 8
    assert (tmp_path / "rl" / "calmstorm.json").is_file()


def test_two_updates_per_step_are_reported_as_one_step(coin_model: Path, tmp_path: Path) -> None:
    steps, rollouts = train(coin_model, tmp_path / "rl", COIN.model_copy(update={"mini_batch": 1}))
    assert [step.step for step in steps] == [1, 2]
    assert {made.step for made in rollouts} == {1, 2}


def test_the_same_seed_gives_the_same_rollouts(coin_model: Path, tmp_path: Path) -> None:
    first, second, other = (
        [
            [span.token_ids for span in made.rollout.spans]
            for made in train(coin_model, tmp_path / name, COIN.model_copy(update={"steps": 1}), seed=seed)[1]
        ]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == second
    assert first != other


def test_nothing_is_printed_because_progress_is_the_callers(
    coin_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(coin_model, tmp_path / "rl", COIN.model_copy(update={"steps": 1}))
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------ what the loss sees


class Inspected:
    """A trainer stopped at its first loss, with the passes that a mini-batch goes through."""

    def __init__(
        self,
        policy: LocalReasoner,
        records: Sequence[TokenRecord],
        work: Path,
        **changes: Any,
    ) -> None:
        self.trainer: Any = None
        inspected = self

        class Stopped(Exception): ...

        class StoppedTrainer(trl_grpo.ArrangedGrpo):
            def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
                inspected.trainer = self
                raise Stopped

        values = {
            "samples": len(records) // 2,
            "prompts_per_step": 2,
            "mini_batch": 2,
            "micro_batch": len(records) // 2,
            "response_tokens": 64,
            "temperature": 0.7,
            "agreement": 100.0,
        }
        settings = RlSettings(**(values | changes))
        session = trl_session.Session(policy, work, 1, 1, 10, lambda *_: None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trl_session, "bf16_pays", lambda: False)
            patch.setattr(trl_grpo, "ArrangedGrpo", StoppedTrainer)
            with pytest.raises(Stopped):
                trl_grpo.reinforce(session, lambda rows, weights: list(records), 2, settings)

    @property
    def passes(self) -> list[dict[str, Any]]:
        """Inputs of each pass."""
        passes: list[dict[str, Any]] = self.trainer._buffered_inputs
        return passes

    def whole(self) -> dict[str, Any]:
        """All rows that are not failed, as TRL would be given them at once."""
        first = self.passes[0]
        rows = {
            name: torch.cat([inputs[name] for inputs in self.passes])
            for name, value in first.items()
            if isinstance(value, torch.Tensor) and value.ndim > 0
        }
        counts = (rows["completion_mask"] * rows["tool_mask"]).sum(1)
        return {name: value[counts > 0] for name, value in rows.items()} | {"num_items_in_batch": counts.sum()}

    def logprobs(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Of the completions under the policy as it is now, shape (rows, longest completion)."""
        tokens = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        width = inputs["completion_ids"].shape[1]
        with torch.no_grad():
            return self.trainer._get_per_token_logps_and_entropies(self.trainer.model, tokens, mask, width)[0]

    def loss_and_gradients(self) -> tuple[float, dict[str, torch.Tensor]]:
        """Of the mini-batch, pass by pass."""
        trainer = self.trainer
        trainer.model.zero_grad()
        total = 0.0
        for trainer._step, inputs in enumerate(self.passes):
            loss = trl_grpo.ArrangedGrpo._compute_loss(trainer, trainer.model, inputs)
            loss.backward()
            total += float(loss.detach())
        return total, self._gradients()

    def trls_loss_and_gradients(self) -> tuple[float, dict[str, torch.Tensor]]:
        """Of the mini-batch at once, by TRL's own code, its correction for the generator included."""
        trainer, inputs = self.trainer, self.whole()
        ratio = (self.logprobs(inputs) - inputs["sampling_per_token_logps"]).exp()
        inputs["importance_sampling_ratio"] = ratio.clamp(max=trainer.settings.importance_cap)
        trainer.model.zero_grad()
        accumulation = trainer.current_gradient_accumulation_steps
        spg = trainer.args.steps_per_generation
        trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = 1
        trainer.use_vllm = True
        plain = GRPOTrainer._get_per_token_logps_and_entropies
        trainer._get_per_token_logps_and_entropies = plain.__get__(trainer)
        loss = GRPOTrainer._compute_loss(trainer, trainer.model, inputs)
        del trainer._get_per_token_logps_and_entropies
        trainer.use_vllm = False
        trainer.current_gradient_accumulation_steps, trainer.args.steps_per_generation = accumulation, spg
        loss.backward()
        return float(loss.detach()), self._gradients()

    def _gradients(self) -> dict[str, torch.Tensor]:
        return {name: parameter.grad.clone() for name, parameter in self.trainer.model.named_parameters()}


def records(seed: int = 0) -> list[TokenRecord]:
    """Two groups of four: rewards differ in the first, all the same in the second."""
    draw = torch.Generator().manual_seed(seed)

    def some(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(3, 259, (count,), generator=draw).tolist())

    made: list[TokenRecord] = []
    for rewards in ((1.0, 0.0, 0.0, None), (1.0, 1.0, 1.0, 1.0)):
        prompt = some(10 + 7 * len(made))
        for place, reward in enumerate(rewards):
            length = 20 + 6 * place
            written = tuple(not 5 <= at < 12 for at in range(length))
            made.append(
                TokenRecord(
                    prompt_ids=prompt,
                    completion_ids=some(length),
                    logprobs=tuple(-1.0 if wrote else 0.0 for wrote in written),
                    written=written,
                    reward=reward,
                )
            )
    return made


@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean", "sequence_sum"])
@pytest.mark.parametrize("micro_batch", [1, 2, 4, 8])
@pytest.mark.parametrize("kl", [0.0, 0.5])
def test_loss_and_gradient_pass_by_pass_equal_trls_over_the_mini_batch(
    random_model: Path, tmp_path: Path, aggregation: str, micro_batch: int, kl: float
) -> None:
    inspected = Inspected(
        load_policy(random_model), records(), tmp_path, aggregation=aggregation, micro_batch=micro_batch, kl=kl
    )
    assert len(inspected.passes) == 8 // micro_batch
    disturb(inspected.trainer.model)
    expected_loss, expected = inspected.trls_loss_and_gradients()
    loss, gradients = inspected.loss_and_gradients()
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-3, msg=name)
    assert max(float(gradient.abs().max()) for gradient in gradients.values()) > 1e-5


def disturb(model: torch.nn.Module) -> None:
    """Moves a model away from where it was."""
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_execution_output_gets_exactly_no_gradient(random_model: Path, tmp_path: Path, objective: str) -> None:
    inspected = Inspected(load_policy(random_model), records(), tmp_path, objective=objective)
    seen: list[torch.Tensor] = []
    trainer = inspected.trainer
    scored = trainer._score

    def watched(*args: Any, **kwargs: Any) -> Any:
        logprobs, *rest = scored(*args, **kwargs)
        logprobs.retain_grad()
        seen.append(logprobs)
        return logprobs, *rest

    trainer._score = watched
    inspected.loss_and_gradients()
    teaching, silent = seen
    gradient = teaching.grad
    assert gradient is not None
    assert gradient.shape[0] == 3  # the failed rollout is not run
    assert (gradient[:, 5:12] == 0).all()
    assert (gradient[:, :5] != 0).all()
    assert (gradient[:, 12:20] != 0).all()
    assert silent.shape == (1, 1)  # the second group teaches nothing: one token, without a gradient
    assert silent.grad is not None
    assert (silent.grad == 0).all()


def test_a_pass_without_anything_to_teach_has_exactly_no_loss_and_no_gradient(
    random_model: Path, tmp_path: Path
) -> None:
    inspected = Inspected(load_policy(random_model), records(), tmp_path)
    trainer = inspected.trainer
    trainer.model.zero_grad()
    loss = trl_grpo.ArrangedGrpo._compute_loss(trainer, trainer.model, inspected.passes[-1])
    loss.backward()
    assert float(loss.detach()) == 0
    assert all((parameter.grad == 0).all() for parameter in trainer.model.parameters())


def test_a_mini_batch_has_its_own_problems_and_its_own_mean(random_model: Path, tmp_path: Path) -> None:
    inspected = Inspected(load_policy(random_model), records(), tmp_path, mini_batch=1, micro_batch=2)
    first, _, third, _ = inspected.passes
    assert first["prompt_ids"].tolist() != third["prompt_ids"].tolist()
    tokens = [int((one["num_items_in_batch"] / 2).item()) for one in inspected.passes]  # TRL halves it for two updates
    written = [13 + 6 * place for place in range(4)]
    assert tokens == [sum(written[:3])] * 2 + [sum(written)] * 2  # the failed rollout does not count
    assert [one["responses"] for one in inspected.passes] == [3, 3, 4, 4]
    assert all("old_per_token_logps" in one for one in inspected.passes)


def test_importance_weights_scale_what_a_token_teaches_up_to_the_cap(random_model: Path, tmp_path: Path) -> None:
    inspected = Inspected(load_policy(random_model), records(), tmp_path, importance_cap=1.25)
    trainer, inputs = inspected.trainer, inspected.passes[0]
    rows = inputs["advantages"].ne(0)
    mask = (inputs["completion_mask"] * inputs["tool_mask"])[rows].bool()
    own = inspected.logprobs(inputs)[rows]
    offsets = torch.linspace(-1, 1, own.numel()).view_as(own)
    inputs["sampling_per_token_logps"][rows] = own - offsets
    seen: list[torch.Tensor] = []

    def watched(self: Any, model: Any, chosen: dict[str, Any]) -> torch.Tensor:
        seen.append(chosen["advantages"])
        return torch.zeros(())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GRPOTrainer, "_compute_loss", watched)
        trl_grpo.ArrangedGrpo._compute_loss(trainer, trainer.model, inputs)
    weights = (seen[0][rows] / inputs["advantages"][rows].unsqueeze(1))[mask]
    torch.testing.assert_close(weights, offsets.exp().clamp(max=1.25)[mask], atol=1e-4, rtol=0)
    assert float(weights.min()) < 0.5


def test_a_kl_term_penalizes_the_distance_from_the_model_that_training_began_with(
    random_model: Path, tmp_path: Path
) -> None:
    inspected = Inspected(load_policy(random_model), records(), tmp_path, aggregation="sequence_mean", kl=0.5)
    inputs = inspected.whole()
    reference = inputs["ref_per_token_logps"]
    mask = inputs["completion_mask"] * inputs["tool_mask"]
    torch.testing.assert_close(inspected.logprobs(inputs) * mask, reference * mask, atol=1e-5, rtol=0)
    disturb(inspected.trainer.model)
    difference = reference - inspected.logprobs(inputs)
    divergence = ((difference.exp() - difference - 1) * mask).sum(1) / mask.sum(1)
    with_penalty, _ = inspected.loss_and_gradients()
    inspected.trainer.beta = 0.0
    without, _ = inspected.loss_and_gradients()
    assert float(divergence.mean()) > 0.01
    assert with_penalty - without == pytest.approx(0.5 * float(divergence.mean()), rel=1e-3)


def test_a_failed_rollout_is_left_out_of_its_groups_mean(random_model: Path, tmp_path: Path) -> None:
    inspected = Inspected(load_policy(random_model), records(), tmp_path, objective="dr_grpo")
    advantages = sorted(value for one in inspected.passes for value in one["advantages"].tolist())
    assert advantages == pytest.approx([-1 / 3, -1 / 3, 0, 0, 0, 0, 0, 2 / 3])


def test_rollout_logprobs_agree_with_the_trainers(coin_model: Path, tmp_path: Path) -> None:
    settings = COIN.model_copy(update={"steps": 1, "temperature": 0.7})
    (step,), made = train(coin_model, tmp_path / "rl", settings)
    assert step.logprob_difference is not None
    assert step.logprob_difference < 0.01
    assert step.logprob_difference_max is not None
    assert step.logprob_difference <= step.logprob_difference_max < 0.3
    inspected = Inspected(load_policy(coin_model), [token_record(one, 2) for one in made], tmp_path / "work")
    inputs = inspected.whole()
    written = (inputs["completion_mask"] * inputs["tool_mask"]).bool()
    assert int(written.sum()) > 400
    assert int((inputs["completion_mask"] * (1 - inputs["tool_mask"])).sum()) > 200
    assert (inspected.logprobs(inputs) - inputs["sampling_per_token_logps"])[written].abs().max() < 1e-4


def test_training_stops_before_the_update_when_generator_and_trainer_disagree(
    coin_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(made: RlRollout, end_of_turn: int) -> TokenRecord:
        record = token_record(made, end_of_turn)
        return record.model_copy(update={"logprobs": tuple(value - 0.2 for value in record.logprobs)})

    monkeypatch.setattr(training_steps, "token_record", shifted)
    steps: list[RlStep] = []
    message = r"differ by 0\.2\d* nats per token on average; it must be at most rl\.agreement = 0\.05: see that"
    with pytest.raises(WorkError, match=message):
        train_grpo(
            coin_model,
            coin_problems(),
            tmp_path / "rl",
            COIN,
            EchoInterpreter(),
            rollouts=RolloutSettings(),
            on_step=steps.append,
        )
    assert steps == []
    assert not (tmp_path / "rl").exists()


# ------------------------------------------------------------------ rewards


def rollout_that(stop: StopReason, text: str = "\\boxed{3}") -> Rollout:
    span = Span(author=Author.REASONER, kind=SpanKind.TEXT, text=text, token_ids=(5, 2), logprobs=(-0.1, -0.2))
    spans = (span,) if text else ()
    return Rollout(prompt=Prefix(text="Q", token_ids=(7,)), spans=spans, stop_reason=stop, executions=(), usage=Usage())


@pytest.mark.parametrize(
    ("stop", "text", "expected"),
    [
        (StopReason.FINISHED, "\\boxed{3}", 1.0),
        (StopReason.FINISHED, "\\boxed{4}", 0.0),
        (StopReason.FINISHED, "no box", 0.0),
        (StopReason.LENGTH, "\\boxed{3}", 1.0),
        (StopReason.EXECUTIONS, "\\boxed{3}", 1.0),
        (StopReason.EXECUTIONS, "\\boxed{4}", 0.0),
        (StopReason.INFRASTRUCTURE, "\\boxed{3}", None),
    ],
)
def test_a_correct_rollout_is_rewarded_whatever_ended_it_and_our_failures_are_not_graded(
    stop: StopReason, text: str, expected: float | None
) -> None:
    (problem,) = coin_problems(1)
    task = RolloutTask(step=1, problem=problem, sample=0, prompt=Prefix(text="Q", token_ids=(7,)))
    made = rollout_that(stop, text)
    assert graded(task, made).reward == expected
    verdict = graded_trajectory(problem, made, stage=Stage.RL, sample=0).verdict
    assert verdict is not None
    assert expected is None or expected == verdict.correct  # as in curation and evaluation


def test_a_rollout_on_a_problem_without_a_label_has_no_reward() -> None:
    problem = coin_problems(1)[0].model_copy(update={"status": LabelStatus.MISSING, "answer": None})
    task = RolloutTask(step=1, problem=problem, sample=0, prompt=Prefix(text="Q", token_ids=(7,)))
    assert graded(task, rollout_that(StopReason.FINISHED)).reward is None


def test_a_rollout_that_failed_before_its_first_token_teaches_nothing() -> None:
    (problem,) = coin_problems(1)
    task = RolloutTask(step=1, problem=problem, sample=0, prompt=Prefix(text="Q", token_ids=(7,)))
    record = token_record(graded(task, rollout_that(StopReason.INFRASTRUCTURE, "")), end_of_turn=2)
    assert (record.completion_ids, record.written, record.reward) == ((2,), (False,), None)


def test_training_goes_on_when_the_interpreter_dies(coin_model: Path, tmp_path: Path) -> None:
    steps, rollouts = train(coin_model, tmp_path / "rl", COIN, interpreter=EchoInterpreter(healthy=10))
    assert len(steps) == 2
    assert steps[1].ungraded > 0
    assert all(made.reward is None for made in rollouts if made.rollout.stop_reason is StopReason.INFRASTRUCTURE)


# ------------------------------------------------------------------ what is refused


class TextOnly:
    """A server that gives no token ids."""

    name = "text-only"
    codec: TokenCodec | None = None

    def render(self, question: str) -> Prefix:
        return Prefix(text=question)

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        return Completion(text="\\boxed{3}", stop=CompletionStop.END_OF_TURN)

    async def close(self) -> None: ...


def test_a_text_only_reasoner_is_refused_with_the_remedy() -> None:
    (problem,) = coin_problems(1)
    prompt = TextOnly().render("Q")
    made = rollout_that(StopReason.FINISHED).model_copy(update={"prompt": prompt})
    task = RolloutTask(step=1, problem=problem, sample=0, prompt=prompt)
    with pytest.raises(InputError, match="the prompt has no token ids; training works on token ids alone: use a local"):
        token_record(graded(task, made), 2)


def test_a_reasoner_without_logprobs_is_refused() -> None:
    (problem,) = coin_problems(1)
    made = rollout_that(StopReason.FINISHED)
    bare = made.model_copy(update={"spans": (made.spans[0].model_copy(update={"logprobs": None}),)})
    task = RolloutTask(step=1, problem=problem, sample=0, prompt=made.prompt)
    with pytest.raises(InputError, match="no log-probabilities"):
        token_record(graded(task, bare), 2)


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        ({"engine": "verl"}, {}, "engine 'verl'"),
        (
            {"prompts_per_step": 8, "mini_batch": 8},
            {},
            "4 problems have prompts within prompt_tokens = 3000; a step takes",
        ),
        (
            {"micro_batch": 5},
            {},
            "rl.micro_batch is 5; it must divide the 16 rollouts that a process takes through an optimizer step "
            r"\(2 problems x 8 samples / 1\): set rl.micro_batch to 4",
        ),
        ({"prompt_tokens": 3}, {}, "0 problems have prompts within prompt_tokens = 3"),
        ({}, {"status": LabelStatus.MISSING, "answer": None}, "4 of 4 problems have no label to reward against"),
        ({}, {"id": "same"}, "two problems have the same id"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_before_anything_is_written(
    random_model: Path, tmp_path: Path, settings: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    problems = [problem.model_copy(update=change) for problem in coin_problems()]
    with pytest.raises(InputError, match=message):
        train(random_model, tmp_path / "rl", COIN.model_copy(update=settings), problems=problems)
    assert list(tmp_path.iterdir()) == []


def test_no_step_has_a_problem_twice_and_every_pass_is_shuffled_anew() -> None:
    settings = RlSettings(epochs=3, prompts_per_step=4, mini_batch=4)
    order = step_order(10, settings, seed=1)
    steps = [order[at : at + 4] for at in range(0, len(order), 4)]
    assert len(steps) == 6
    assert all(len({*step}) == 4 for step in steps)
    assert len({tuple(step) for step in steps}) == 6
    assert order == step_order(10, settings, seed=1)
