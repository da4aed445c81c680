from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOTrainer

from calmstorm.errors import InputError
from calmstorm.grading import graded_trajectory
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling, TokenCodec
from calmstorm.records import Author, LabelStatus, Span, SpanKind, Stage, StopReason, Usage
from calmstorm.rollout import Rollout
from calmstorm.settings import RlSettings, RolloutSettings
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
    """A trainer stopped at its first loss, with what goes into it."""

    def __init__(
        self,
        policy: LocalReasoner,
        records: Sequence[TokenRecord],
        work: Path,
        objective: str = "grpo",
        micro_batch: int = 8,
        kl: float = 0.0,
    ) -> None:
        self.inputs: dict[str, Any] = {}
        self.trainer: Any = None
        inspected = self

        class Stopped(Exception): ...

        class StoppedTrainer(trl_grpo.GroupwiseGrpo):
            def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
                inspected.inputs = inputs
                inspected.trainer = self
                raise Stopped

        settings = RlSettings(
            objective=objective,
            samples=len(records) // 2,
            prompts_per_step=2,
            mini_batch=2,
            micro_batch=micro_batch,
            response_tokens=64,
            temperature=0.7,
            kl=kl,
        )
        session = trl_session.Session(policy, work, 1, 1, 10, lambda *_: None)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trl_session, "bf16_pays", lambda: False)
            patch.setattr(trl_grpo, "GroupwiseGrpo", StoppedTrainer)
            with pytest.raises(Stopped):
                trl_grpo.reinforce(session, lambda rows: list(records), 2, settings)

    def logprobs(self) -> torch.Tensor:
        """Of the completions under the policy as it is now, shape (rows, longest completion)."""
        tokens = torch.cat([self.inputs["prompt_ids"], self.inputs["completion_ids"]], 1)
        mask = torch.cat([self.inputs["prompt_mask"], self.inputs["completion_mask"]], 1)
        width = self.inputs["completion_ids"].shape[1]
        with torch.no_grad():
            return self.trainer._get_per_token_logps_and_entropies(self.trainer.model, tokens, mask, width)[0]

    def loss_and_gradients(self, groupwise: bool = True) -> tuple[float, dict[str, torch.Tensor]]:
        """Of the whole batch: pass by pass as we do it, or at once as TRL does."""
        trainer = self.trainer
        trainer.model.zero_grad()
        if groupwise:
            loss = trl_grpo.GroupwiseGrpo._compute_loss(trainer, trainer.model, self.inputs)
        else:
            plain = GRPOTrainer._get_per_token_logps_and_entropies
            trainer._get_per_token_logps_and_entropies = plain.__get__(trainer)
            loss = GRPOTrainer._compute_loss(trainer, trainer.model, self.inputs)
            del trainer._get_per_token_logps_and_entropies
        loss.backward()
        return float(loss.detach()), {name: p.grad.clone() for name, p in trainer.model.named_parameters()}


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


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("micro_batch", [1, 3, 8])
def test_loss_and_gradient_pass_by_pass_equal_trls_over_the_whole_batch(
    random_model: Path, tmp_path: Path, objective: str, micro_batch: int
) -> None:
    inspected = Inspected(load_policy(random_model), records(), tmp_path, objective, micro_batch)
    expected_loss, expected = inspected.loss_and_gradients(groupwise=False)
    loss, gradients = inspected.loss_and_gradients(groupwise=True)
    assert loss == pytest.approx(expected_loss, abs=1e-5)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-3, msg=name)
    assert max(float(gradient.abs().max()) for gradient in gradients.values()) > 1e-4


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_execution_output_gets_exactly_no_gradient(random_model: Path, tmp_path: Path, objective: str) -> None:
    inspected = Inspected(load_policy(random_model), records(), tmp_path, objective)
    seen: list[torch.Tensor] = []
    trainer = inspected.trainer
    scored = trainer._get_per_token_logps_and_entropies

    def watched(*args: Any, **kwargs: Any) -> Any:
        logprobs, *rest = scored(*args, **kwargs)
        logprobs.retain_grad()
        seen.append(logprobs)
        return logprobs, *rest

    trainer._get_per_token_logps_and_entropies = watched
    inspected.loss_and_gradients()
    (logprobs,) = seen  # the second group teaches nothing and is not run
    gradient = logprobs.grad
    assert gradient is not None
    assert gradient.shape[0] == 3  # the failed rollout is not run either
    assert (gradient[:, 5:12] == 0).all()
    assert (gradient[:, :5] != 0).all()
    assert (gradient[:, 12:20] != 0).all()


def test_a_kl_term_penalizes_the_distance_from_the_model_that_training_began_with(
    random_model: Path, tmp_path: Path
) -> None:
    inspected = Inspected(load_policy(random_model), records(), tmp_path, kl=0.5)
    reference = inspected.inputs["ref_per_token_logps"]
    learned = inspected.inputs["completion_mask"] * inspected.inputs["tool_mask"]
    torch.testing.assert_close(inspected.logprobs() * learned, reference * learned, atol=1e-5, rtol=0)
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in inspected.trainer.model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=noise))
    difference = reference - inspected.logprobs()
    divergence = ((difference.exp() - difference - 1) * learned).sum(1) / learned.sum(1)
    with_penalty, _ = inspected.loss_and_gradients()
    inspected.trainer.beta = 0.0
    without, _ = inspected.loss_and_gradients()
    assert float(divergence.mean()) > 0.01
    assert with_penalty - without == pytest.approx(0.5 * float(divergence.mean()), rel=1e-3)


def test_a_failed_rollout_is_left_out_of_its_groups_mean(random_model: Path, tmp_path: Path) -> None:
    inspected = Inspected(load_policy(random_model), records(), tmp_path, "dr_grpo")
    advantages = sorted(inspected.inputs["advantages"].tolist())
    assert advantages == pytest.approx([-1 / 3, -1 / 3, 0, 0, 0, 0, 0, 2 / 3])


def test_rollout_logprobs_agree_with_the_trainers(coin_model: Path, tmp_path: Path) -> None:
    made = train(coin_model, tmp_path / "rl", COIN.model_copy(update={"steps": 1, "temperature": 0.7}))[1]
    inspected = Inspected(load_policy(coin_model), [token_record(one, 2) for one in made], tmp_path / "work")
    inputs = inspected.inputs
    written = (inputs["completion_mask"] * inputs["tool_mask"]).bool()
    assert int(written.sum()) > 400
    assert int((inputs["completion_mask"] * (1 - inputs["tool_mask"])).sum()) > 200
    assert (inspected.logprobs() - inputs["sampling_per_token_logps"])[written].abs().max() < 1e-4


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
        ({"objective": "carft"}, {}, "rl.objective is 'carft'"),
        ({"engine": "verl"}, {}, "engine 'verl'"),
        (
            {"prompts_per_step": 8, "mini_batch": 8},
            {},
            "4 problems have prompts within prompt_tokens = 3000; a step takes",
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
