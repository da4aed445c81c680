from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from calmstorm.errors import InputError
from calmstorm.reasoner.prompting import prompt_of_model, user_message
from calmstorm.settings import SftSettings
from calmstorm.training.policy import load_policy
from calmstorm.training.rows import bucketed_order
from calmstorm.training.sft import SftStep, _examples, train_sft
from tests.training.tiny_model import golden, ids

QUICK = SftSettings(learning_rate=1e-2, batch=4, micro_batch=4, epochs=3, checkpoint_steps=100)


def test_loss_falls_and_steps_carry_epoch_rate_and_seconds(random_model: Path, tmp_path: Path) -> None:
    steps: list[SftStep] = []
    result = train_sft(random_model, [golden(n) for n in range(10)], tmp_path / "out", QUICK, on_log=steps.append)
    assert [step.step for step in steps] == list(range(1, 9))  # 30 sequences in batches of 4
    assert result.steps == 8
    assert steps[-1].epoch == 3.0
    assert steps[-1].loss < 0.8 * steps[0].loss
    assert max(step.learning_rate for step in steps) == pytest.approx(1e-2)
    assert all(step.seconds > 0 for step in steps)


def test_the_output_is_a_plain_model_directory_without_traces_of_this_machine(
    random_model: Path, tmp_path: Path
) -> None:
    train_sft(random_model, [golden(0)], tmp_path / "out", QUICK)
    out = tmp_path / "out"
    names = {path.name for path in out.iterdir()}
    assert names >= {
        "config.json",
        "model.safetensors",
        "generation_config.json",
        "tokenizer.json",
        "chat_template.jinja",
    }
    assert json.loads((out / "calmstorm.json").read_text()) == {"prompt": "pocket-1"}
    for path in out.glob("*.json"):
        assert str(tmp_path) not in path.read_text()
        assert str(random_model) not in path.read_text()
    assert AutoTokenizer.from_pretrained(out).decode(list(ids("a{b}"))) == "a{b}"
    assert AutoModelForCausalLM.from_pretrained(out).config.model_type == "qwen3"


def test_the_prompt_that_is_trained_with_is_the_given_one(random_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(random_model, base)
    (base / "calmstorm.json").unlink()  # as weights from elsewhere
    train_sft(base, [golden(0)], tmp_path / "out", QUICK.model_copy(update={"epochs": 1}), prompt="calm-1")
    assert prompt_of_model(tmp_path / "out") == "calm-1"
    policy = load_policy(base, "calm-1")
    (example,) = _examples(policy, [golden(0)], 22000)[0]
    asked = policy.codec.decode(example.input_ids)
    assert user_message("calm-1", golden(0).question) in asked


def test_a_model_does_not_learn_to_print_output_itself(random_model: Path, tmp_path: Path) -> None:
    train_sft(random_model, [golden(0)] * 8, tmp_path / "out", QUICK.model_copy(update={"epochs": 20}))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    prompt = ids("<|im_start|>user\nQ0<|im_end|>\n<|im_start|>assistant\n")
    script, output, box = (span.token_ids or () for span in golden(0).trajectory.spans)
    sequence = torch.tensor([[*prompt, *script, *output, *box]])
    with torch.no_grad():
        logprobs = torch.log_softmax(model(input_ids=sequence).logits[0, :-1], -1)
    of_token = logprobs.gather(1, sequence[0, 1:, None])[:, 0].split(
        [len(prompt) - 1, len(script), len(output), len(box)]
    )
    assert of_token[1].mean() > -0.5
    assert of_token[2].mean() < -2.0
    assert of_token[3].mean() > -0.5


def test_the_same_seed_gives_the_same_model_and_another_seed_another(random_model: Path, tmp_path: Path) -> None:
    lessons = [golden(n, answer=n) for n in range(9)]
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train_sft(random_model, lessons, tmp_path / name, QUICK, seed=seed)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_sequences_that_are_too_long_are_left_out_and_counted(random_model: Path, tmp_path: Path) -> None:
    lessons = [golden(0), golden(1, hint="long " * 60)]
    result = train_sft(random_model, lessons, tmp_path / "out", QUICK.model_copy(update={"sequence_tokens": 200}))
    assert (result.trajectories, result.left_out) == (1, 1)
    with pytest.raises(InputError, match="nothing to fine-tune on: 1 golden trajectories, 1 of them longer"):
        train_sft(random_model, lessons[1:], tmp_path / "none", QUICK.model_copy(update={"sequence_tokens": 200}))


def test_a_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.json, so it is no model"):
        train_sft(tmp_path, [golden(0)], tmp_path / "out", QUICK)


def test_every_epoch_has_every_sequence_and_neighbours_are_of_like_length() -> None:
    lengths = [(number * 37) % 100 for number in range(64)]
    order = bucketed_order(lengths, rows=128, batch=4, seed=0)
    assert sorted(order[:64]) == sorted(order[64:]) == list(range(64))
    spreads = [
        max(lengths[i] for i in order[at : at + 4]) - min(lengths[i] for i in order[at : at + 4])
        for at in range(0, 128, 4)
    ]
    assert sum(spreads) / len(spreads) < 15


def test_half_an_epoch_uses_half_of_the_sequences_once() -> None:
    assert len({*bucketed_order([5] * 10, rows=5, batch=4, seed=0)}) == 5
