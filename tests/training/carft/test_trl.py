"""CARFT on the real trainer: gradients, what it leaves alone, resuming, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from calmstorm.errors import InputError
from calmstorm.records import GoldenTrajectory
from calmstorm.settings import CarftSettings, RlSettings, RolloutSettings
from calmstorm.training.carft.contrast import Contrast
from calmstorm.training.carft.losses import contrastive_loss
from calmstorm.training.carft.views import Response
from calmstorm.training.checkpoints import work_dir
from calmstorm.training.grpo import RlStep, train_grpo
from calmstorm.training.policy import load_policy
from calmstorm.training.rollouts import TokenRecord
from calmstorm.training.trl import carft as trl_carft
from calmstorm.training.trl import session as trl_session
from tests.training.test_grpo import COIN, Inspected, records
from tests.training.tiny_model import EchoInterpreter, coin_problems, golden

ALL = ("positives", "negatives", "both", "pull")


def annotated_response(seed: int, length: int = 30) -> Response:
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 259, (length,), generator=draw).tolist()
    return Response(tuple(ids), tuple(not 8 <= at < 12 for at in range(length)))


class Contrasted:
    """A trainer stopped at its first loss, with all passes of the update; two problems of four rollouts each."""

    def __init__(
        self,
        model: Path,
        work: Path,
        carft: CarftSettings,
        made: Sequence[TokenRecord] | None = None,
        micro_batch: int = 5,
        annotated: Mapping[str, Response] | None = None,
    ) -> None:
        self.trainer: Any = None
        self.carft = carft
        inspected = self

        class Stopped(Exception): ...

        class StoppedTrainer(trl_carft.ContrastiveGrpo):
            def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
                inspected.trainer = self
                raise Stopped

        settings = RlSettings(
            objective="carft",
            samples=4,
            prompts_per_step=2,
            mini_batch=2,
            micro_batch=micro_batch,
            response_tokens=64,
            temperature=0.7,
            agreement=100.0,
        )
        annotated = {"p": annotated_response(1), "q": annotated_response(2, 17)} if annotated is None else annotated
        session = trl_session.Session(load_policy(model), work, 1, 1, 10, lambda *_: None)
        rollouts = list(records() if made is None else made)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trl_session, "bf16_pays", lambda: False)
            patch.setattr(trl_carft, "ContrastiveGrpo", StoppedTrainer)
            with pytest.raises(Stopped):
                trl_carft.reinforce_contrastively(
                    session,
                    lambda rows, weights: rollouts,
                    2,
                    settings,
                    carft,
                    Contrast(carft, ["p", "q"], annotated),
                )

    @property
    def passes(self) -> list[dict[str, Any]]:
        passes: list[dict[str, Any]] = self.trainer._buffered_inputs
        return passes

    def backward(self) -> float:
        """Goes through all passes, adding up gradients, and returns the sum of what was reported as loss."""
        trainer = self.trainer
        trainer.model.zero_grad()
        trainer.head.zero_grad()
        total = 0.0
        for trainer._step, inputs in enumerate(self.passes):
            loss = trl_carft.ContrastiveGrpo._compute_loss(trainer, trainer.model, inputs)
            loss.backward()
            total += float(loss.detach())
        return total

    def gradients(self) -> dict[str, torch.Tensor]:
        modules = {"model": self.trainer.model, "head": self.trainer.head}
        return {
            f"{kind}.{name}": torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
            for kind, module in modules.items()
            for name, parameter in module.named_parameters()
        }

    def contrastive_gradients(self) -> tuple[float, dict[str, torch.Tensor]]:
        """Reference: every row alone and unpadded through the model, one loss over all of them, one backward."""
        trainer = self.trainer
        trainer.model.zero_grad()
        trainer.head.zero_grad()
        embedded, keys = [], []
        for row in trainer.groups.rows:
            ids = torch.tensor([[*row.record.prompt_ids, *row.record.completion_ids]])
            hidden = trainer.model.base_model(input_ids=ids).last_hidden_state[0, len(row.record.prompt_ids) :]
            embedded.append(trainer.head(hidden, row.masks(hidden.device)))
            keys += [view.key for view in row.views]
        loss = contrastive_loss(torch.cat(embedded), keys, self.carft)
        (self.carft.coefficient * loss).backward()
        return float(loss.detach()), self.gradients()


@pytest.mark.parametrize(
    ("variant", "micro_batch"), [*(("both", size) for size in (1, 2, 5, 10)), *((variant, 5) for variant in ALL)]
)
def test_the_gradient_is_that_of_the_policy_loss_and_of_the_contrastive_loss_over_all_rows(
    random_model: Path, tmp_path: Path, variant: str, micro_batch: int
) -> None:
    """Whatever the micro-batch. The policy's part, and its loss, are those of GRPO without any annotated row."""
    carft = CarftSettings.model_validate({"variant": variant, "coefficient": 0.3})
    contrasted = Contrasted(random_model, tmp_path / "carft", carft, micro_batch=micro_batch)
    assert len(contrasted.passes) == 10 // micro_batch
    plain = Inspected(load_policy(random_model), records(), tmp_path / "grpo")
    policy_loss, policy = plain.loss_and_gradients()
    reference, contrastive = contrasted.contrastive_gradients()
    reported = contrasted.trainer._metrics["train"]["contrastive_loss"]
    assert reported == [pytest.approx(reference, abs=1e-5)]
    assert reference > 0.01

    assert contrasted.backward() == pytest.approx(policy_loss, abs=1e-5)
    largest = 0.0
    for name, gradient in contrasted.gradients().items():
        of_policy = policy.get(name.removeprefix("model."), torch.zeros_like(gradient))
        torch.testing.assert_close(gradient, of_policy + contrastive[name], atol=1e-5, rtol=1e-3, msg=name)
        largest = max(largest, float(contrastive[name].abs().max()))
    assert largest > 1e-3


def test_advantages_are_those_of_grpo_and_annotated_rows_have_none(random_model: Path, tmp_path: Path) -> None:
    contrasted = Contrasted(random_model, tmp_path / "carft", CarftSettings())
    plain = Inspected(load_policy(random_model), records(), tmp_path / "grpo")

    def by_tokens(passes: list[dict[str, Any]]) -> dict[tuple[int, ...], float]:
        rows = [
            (tuple(ids[mask.bool()].tolist()), float(advantage))
            for inputs in passes
            for ids, mask, advantage in zip(
                inputs["completion_ids"], inputs["completion_mask"], inputs["advantages"], strict=True
            )
        ]
        return dict(rows)

    found, expected = by_tokens(contrasted.passes), by_tokens(plain.passes)
    annotated = [annotated_response(1).token_ids, annotated_response(2, 17).token_ids]
    assert [found.pop(tokens) for tokens in annotated] == [0, 0]
    assert found == expected


def silent(made: Sequence[TokenRecord]) -> list[TokenRecord]:
    """Rollouts of which the policy loss learns nothing: all correct in one group, all wrong in the other."""
    return [record.model_copy(update={"reward": float(at < 4)}) for at, record in enumerate(made)]


@pytest.mark.parametrize("variant", ALL)
def test_tokens_that_nobody_wrote_get_exactly_no_gradient(random_model: Path, tmp_path: Path, variant: str) -> None:
    """What must be zero, exactly: the derivative by the log-probability of every token that is not learned, the whole
    annotated trajectory included; and where the contrastive loss alone has a gradient, the derivative by the final
    norm's output at tokens that nobody wrote, since an embedding has no weight on them. What need not be zero: that
    written tokens attend to execution output further down, through which gradients flow as in any model.
    """
    carft = CarftSettings.model_validate({"variant": variant, "coefficient": 1.0})
    contrasted = Contrasted(random_model, tmp_path, carft, silent(records()), micro_batch=10)
    trainer = contrasted.trainer
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    scored = trainer._score_pass

    def watched(*args: Any, **kwargs: Any) -> Any:
        logprobs, *rest = scored(*args, **kwargs)
        logprobs.retain_grad()
        trainer._hidden.retain_grad()
        seen.append((logprobs, trainer._hidden))
        return logprobs, *rest

    trainer._score_pass = watched
    contrasted.backward()
    ((logprobs, hidden),) = seen
    assert logprobs.grad is not None
    assert hidden.grad is not None
    assert (logprobs.grad == 0).all()
    (inputs,) = contrasted.passes
    taught = [row for row, teaches in zip(inputs["row"].tolist(), trainer.teaches(inputs), strict=True) if teaches]
    assert len(taught) >= 5
    for place, row in enumerate(taught):
        annotated = row % 5 == 4
        length = len(trainer.groups.rows[row].record.completion_ids)
        output = range(8, 12) if annotated else range(5, 12)
        assert (hidden.grad[place, list(output)] == 0).all()
        assert (hidden.grad[place, length:] == 0).all()
        assert (hidden.grad[place, [at for at in range(length) if at not in output]] != 0).any()


def test_logprobs_of_annotated_tokens_get_no_gradient_beside_rollouts_that_are_learned(
    random_model: Path, tmp_path: Path
) -> None:
    contrasted = Contrasted(random_model, tmp_path, CarftSettings(coefficient=1.0), micro_batch=10)
    trainer = contrasted.trainer
    seen: list[torch.Tensor] = []
    scored = trainer._score_pass

    def watched(*args: Any, **kwargs: Any) -> Any:
        logprobs, *rest = scored(*args, **kwargs)
        logprobs.retain_grad()
        seen.append(logprobs)
        return logprobs, *rest

    trainer._score_pass = watched
    contrasted.backward()
    (inputs,) = contrasted.passes
    taught = [row for row, teaches in zip(inputs["row"].tolist(), trainer.teaches(inputs), strict=True) if teaches]
    (logprobs,) = seen
    assert logprobs.grad is not None
    by_row = dict(zip(taught, logprobs.grad, strict=True))
    assert (by_row[4] == 0).all()
    assert (by_row[9] == 0).all()
    assert (by_row[0][5:12] == 0).all()
    assert (by_row[0][:5] != 0).all()


def test_nothing_annotated_for_a_problem_leaves_its_rollouts_to_the_policy_loss(
    random_model: Path, tmp_path: Path
) -> None:
    only = {"q": annotated_response(2)}
    contrasted = Contrasted(random_model, tmp_path, CarftSettings(variant="pull"), annotated=only)
    cotangents = contrasted.trainer._cotangents
    assert [one is not None for one in cotangents] == [False] * 5 + [True] * 4 + [False]
    assert len(contrasted.trainer.groups.rows[4].record.completion_ids) == 1


@pytest.mark.parametrize("partial", ["flat", "cosine"])
def test_a_readable_wrong_answer_earns_a_part(random_model: Path, tmp_path: Path, partial: str) -> None:
    made = records()
    made[1] = made[1].model_copy(update={"answered": True})
    carft = CarftSettings.model_validate({"partial_reward": partial})
    trainer = Contrasted(random_model, tmp_path, carft, made).trainer
    (earned,) = {
        reward for reward in trainer._logs["rewards"]["reward"] if reward == reward and reward not in (0.0, 1.0)
    }
    row = trainer.groups.rows[1]
    assert row.record.answered
    if partial == "flat":
        assert earned == pytest.approx(0.1)
    else:
        assert 0.1 <= earned <= 0.3
        assert earned != pytest.approx(0.2)
    assert trainer._cotangents[0] is not None  # correct is still the rollout that earned everything


# ------------------------------------------------------------------ whole trainings

RL = COIN.model_copy(update={"objective": "carft", "steps": 3, "checkpoint_steps": 1, "samples": 4, "micro_batch": 5})


def golden_set() -> dict[str, GoldenTrajectory]:
    """For all of the coin's problems but one."""
    return {f"q{n}": golden(n).model_copy(update={"question": f"Q{n}"}) for n in range(3)}


def train(model: Path, output: Path, settings: RlSettings, carft: CarftSettings | None = None) -> list[RlStep]:
    """Trains on rollouts that are drawn one by one: what decodes together changes the last bits of probabilities."""
    steps: list[RlStep] = []
    train_grpo(
        model,
        coin_problems(),
        output,
        settings,
        EchoInterpreter(),
        rollouts=RolloutSettings(concurrency=1),
        carft=carft,
        annotated=golden_set(),
        on_step=steps.append,
    )
    return steps


def numbers(steps: Sequence[RlStep]) -> list[dict[str, Any]]:
    """Returns what steps say, but for times."""
    return [{name: value for name, value in step if not name.endswith("seconds")} for step in steps]


def test_coefficient_0_is_grpo_bit_for_bit(coin_model: Path, tmp_path: Path) -> None:
    carft = RL.model_copy(update={"micro_batch": 4})
    expected = train(coin_model, tmp_path / "grpo", carft.model_copy(update={"objective": "grpo"}))
    steps = train(coin_model, tmp_path / "zero", carft, CarftSettings(coefficient=0.0))
    more = train(coin_model, tmp_path / "carft", RL, CarftSettings(coefficient=0.5))
    assert numbers(steps) == numbers(expected)
    names = {path.name for path in (tmp_path / "grpo").iterdir()}
    for name in names:
        assert (tmp_path / "zero" / name).read_bytes() == (tmp_path / "grpo" / name).read_bytes()
    weights, others = (load_file(tmp_path / kind / "model.safetensors") for kind in ("grpo", "carft"))
    assert weights.keys() == others.keys()  # the head is not exported
    assert {path.name for path in (tmp_path / "carft").iterdir()} == names
    assert any(not torch.equal(weights[name], others[name]) for name in weights)
    assert all(step.contrastive_loss is not None for step in more)
    assert all(step.similarity_correct is not None for step in more)


def test_an_interrupted_training_ends_as_if_it_had_not_been_and_the_head_goes_on_too(
    coin_model: Path, tmp_path: Path
) -> None:
    class Killed(BaseException): ...

    carft = CarftSettings(coefficient=0.5, head_learning_rate=0.05)
    expected = train(coin_model, tmp_path / "whole", RL, carft)

    def killed(*_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trl_carft.ContrastiveGrpo, "step_head", stepping_until(3, killed))
        with pytest.raises(Killed):
            train(coin_model, tmp_path / "killed", RL, carft)
    assert (work_dir(tmp_path / "killed") / "checkpoint-2" / trl_carft.HEAD).is_file()
    rest = train(coin_model, tmp_path / "killed", RL, carft)
    assert numbers(rest) == numbers(expected[2:])
    assert (tmp_path / "killed" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()


def stepping_until(step: int, then: Any) -> Any:
    whole = trl_carft.ContrastiveGrpo.step_head

    def step_head(trainer: Any) -> None:
        if trainer.state.global_step + 1 == step:
            then()
        whole(trainer)

    return step_head


def test_an_unfinished_training_is_not_continued_with_another_variant(coin_model: Path, tmp_path: Path) -> None:
    class Killed(BaseException): ...

    def killed() -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trl_carft.ContrastiveGrpo, "step_head", stepping_until(1, killed))
        with pytest.raises(Killed):
            train(coin_model, tmp_path / "rl", RL)
    with pytest.raises(InputError, match="an unfinished training with other carft"):
        train(coin_model, tmp_path / "rl", RL, CarftSettings(variant="pull"))


@pytest.mark.parametrize(
    ("settings", "carft", "message"),
    [
        ({"mini_batch": 1}, {}, "rl.mini_batch is 1; the contrastive loss compares all rollouts of a step"),
        ({"micro_batch": 4}, {}, r"2 problems x 5 samples / 1\): set rl.micro_batch to 2"),
        ({}, {"coefficient": 0, "partial_reward": "cosine"}, "carft.partial_reward is 'cosine', but with"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_anything_is_written(
    random_model: Path, tmp_path: Path, settings: dict[str, Any], carft: dict[str, Any], message: str
) -> None:
    changed = RL.model_copy(update=settings)
    with pytest.raises(InputError, match=message):
        train(random_model, tmp_path / "rl", changed, CarftSettings(**carft))
    assert list(tmp_path.iterdir()) == []


def test_without_any_annotated_trajectory_there_is_nothing_to_contrast(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{__name__}.golden_set", lambda: {"another": golden(0)})
    with pytest.raises(InputError, match=r"none of the 4 problems .* --set carft\.annotated=runs/annotated"):
        train(random_model, tmp_path / "rl", RL)
    assert list(tmp_path.iterdir()) == []
