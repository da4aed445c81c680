"""Every setting of a training reaches TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from calmstorm.settings import RlSettings, SftSettings
from calmstorm.training.encode import encode
from calmstorm.training.policy import load_policy
from calmstorm.training.rows import Schedule
from calmstorm.training.trl.grpo import reinforce
from calmstorm.training.trl.session import Session
from calmstorm.training.trl.sft import fine_tune
from tests.training.tiny_model import golden


@pytest.fixture
def session(random_model: Path, tmp_path: Path) -> Session:
    return Session(load_policy(random_model), tmp_path, 11, 7, 3, lambda *_: None)


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a trainer would be made with."""
    arguments: dict[str, Any] = {}
    monkeypatch.setattr(Session, "run", lambda self, kind, **given: arguments.update(given))
    return arguments


def assert_common(config: Any, work: Path) -> None:
    assert (config.output_dir, config.seed, config.max_steps, config.save_steps) == (str(work), 11, 7, 3)
    assert (config.save_strategy, config.save_total_limit, config.logging_steps) == ("steps", 2, 1)
    assert (config.report_to, config.disable_tqdm, config.optim) == ([], True, "adamw_torch")


def test_settings_of_fine_tuning_reach_trl(session: Session, passed: dict[str, Any]) -> None:
    settings = SftSettings(
        learning_rate=3e-4,
        schedule="linear",
        warmup_ratio=0.25,
        batch=6,
        micro_batch=2,
        weight_decay=0.125,
        gradient_norm=0.5,
    )
    item = golden(0)
    prompt = session.policy.render(item.question)
    examples = [encode(prompt, golden(n, answer=n).trajectory, session.policy.end_of_turn) for n in range(3)]
    fine_tune(session, Schedule([(examples[n],) for n in (2, 0, 1, 2)], 2, 3), [], settings)
    config = passed["args"]
    assert_common(config, session.work)
    assert (config.learning_rate, config.lr_scheduler_type, config.warmup_steps) == (3e-4, "linear", 0.25)
    assert (config.weight_decay, config.max_grad_norm) == (0.125, 0.5)
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps) == (2, 3)
    rows = passed["train_dataset"]
    assert rows["input_ids"] == [list(examples[n].input_ids) for n in (2, 0, 1, 2)]
    assert rows["labels"] == [list(examples[n].labels) for n in (2, 0, 1, 2)]


def test_settings_of_reinforcement_reach_trl(session: Session, passed: dict[str, Any]) -> None:
    settings = RlSettings(
        objective="dr_grpo",
        prompts_per_step=6,
        samples=4,
        mini_batch=3,
        micro_batch=4,
        learning_rate=2e-5,
        temperature=0.8,
        top_p=0.9,
        response_tokens=77,
        kl=0.03,
        clip=0.1,
        gradient_norm=0.25,
    )
    reinforce(session, lambda rows, weights: [], 12, settings)
    config = passed["args"]
    assert_common(config, session.work)
    assert (config.loss_type, config.scale_rewards, config.beta, config.epsilon) == ("dr_grpo", "none", 0.03, 0.1)
    assert (config.learning_rate, config.lr_scheduler_type, config.max_grad_norm) == (2e-5, "constant", 0.25)
    assert (config.temperature, config.top_p, config.max_completion_length) == (0.8, 0.9, 77)
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps) == (4, 3)
    assert (config.steps_per_generation, config.num_generations) == (6, 4)
    assert passed["settings"] == settings
    assert passed["train_dataset"]["prompt"] == [str(number) for number in range(12)]
    reinforce(session, lambda rows, weights: [], 12, settings.model_copy(update={"objective": "dapo"}))
    assert (passed["args"].loss_type, passed["args"].scale_rewards, passed["args"].epsilon_high) == (
        "dapo",
        "group",
        0.28,
    )
    reinforce(session, lambda rows, weights: [], 12, settings.model_copy(update={"objective": "grpo"}))
    assert (passed["args"].loss_type, passed["args"].epsilon_high) == ("dapo", 0.1)
    plain = {"objective": "grpo", "aggregation": "sequence_mean", "clip_high": 0.3}
    reinforce(session, lambda rows, weights: [], 12, settings.model_copy(update=plain))
    assert (passed["args"].loss_type, passed["args"].epsilon_high) == ("grpo", 0.3)
