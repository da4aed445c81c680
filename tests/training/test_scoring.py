from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from calmstorm.training.cpu import scoring
from calmstorm.training.cpu.attention import NAME, right_padded
from calmstorm.training.cpu.scoring import score


@pytest.fixture
def model(random_model: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(random_model, dtype=torch.float32)


def test_attention_in_blocks_equals_torchs_when_sequences_span_several_blocks(model: PreTrainedModel) -> None:
    tokens = torch.randint(0, 259, (3, 200), generator=torch.Generator().manual_seed(0))
    expected = model(input_ids=tokens).logits
    with right_padded(model):
        assert model.config._attn_implementation == NAME
        blocks = model(input_ids=tokens).logits
    assert model.config._attn_implementation == "sdpa"
    torch.testing.assert_close(blocks, expected, atol=1e-5, rtol=0)


def scored_row_by_row(
    model: PreTrainedModel, rows: list[tuple[list[int], list[int]]], temperature: float
) -> list[torch.Tensor]:
    """Reference: every row alone, unpadded, the whole sequence through the model."""
    scores = []
    for prompt, completion in rows:
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1] / temperature
        scores.append(torch.log_softmax(logits, -1).gather(1, torch.tensor(completion)[:, None])[:, 0])
    return scores


def padded(rows: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor, int]:
    before = max(len(prompt) for prompt, _ in rows)
    after = max(len(completion) for _, completion in rows)
    tokens = torch.zeros(len(rows), before + after, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, (prompt, completion) in enumerate(rows):
        tokens[row, before - len(prompt) : before + len(completion)] = torch.tensor(prompt + completion)
        mask[row, before - len(prompt) : before + len(completion)] = 1
    return tokens, mask, after


@pytest.mark.parametrize("logits", [2**26, 5000, 1])
def test_scores_and_gradients_with_shared_prompts_equal_those_of_each_row_alone(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, logits: int
) -> None:
    draw = torch.Generator().manual_seed(1)

    def some(count: int) -> list[int]:
        return torch.randint(3, 259, (count,), generator=draw).tolist()

    first, second = some(70), some(9)
    rows = [(first, some(80)), (second, some(1)), (first, some(5)), (second, some(33)), (first, some(1))]
    expected = scored_row_by_row(model, rows, 0.6)
    torch.stack([one.sum() for one in expected]).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    monkeypatch.setattr(scoring, "LOGITS", logits)
    made: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda head, given, output: made.append(output.numel()))
    logprobs, entropies, hidden = score(model, *padded(rows), temperature=0.6)
    assert max(made) <= max(logits, 3 * model.config.vocab_size)  # at least one token of each row of a group
    for row, one in enumerate(expected):
        torch.testing.assert_close(logprobs[row, : len(one)], one, atol=1e-5, rtol=0)
        assert (entropies[row, : len(one)] > 0).all()
        prompt, completion = rows[row]
        whole = model.base_model(input_ids=torch.tensor([prompt + completion])).last_hidden_state[0, len(prompt) :]
        torch.testing.assert_close(hidden[row, : len(completion)], whole, atol=1e-4, rtol=1e-4)
    torch.stack([logprobs[row, : len(one)].sum() for row, one in enumerate(expected)]).sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=2e-4, rtol=1e-3, msg=name)
