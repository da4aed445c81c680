"""The head, and cotangents through a real model against the gradient of the whole batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import Qwen3ForCausalLM

from calmstorm.settings import CarftSettings
from calmstorm.training.carft.head import ContrastiveHead
from calmstorm.training.carft.losses import contrastive_loss, cotangents
from calmstorm.training.carft.views import Attempt, Response, View, group_views

PROMPT = 5


def head() -> ContrastiveHead:
    return ContrastiveHead(32, 16, seed=1)


def test_a_view_is_the_attention_weighted_mean_of_its_tokens_alone() -> None:
    embed = head()
    hidden = torch.randn(4, 32)
    views = torch.tensor([[True, False, True, False], [True, True, True, True]])
    (part, _) = embed(hidden, views)
    weights = torch.softmax(embed.attention(hidden[[0, 2]]).squeeze(-1), 0)
    torch.testing.assert_close(part, embed.projection(weights @ hidden[[0, 2]]))
    assert (embed(hidden, views)[0] != embed(hidden, views)[1]).all()


def test_a_view_without_tokens_is_zero_and_has_no_gradient() -> None:
    embed = head()
    hidden = torch.randn(3, 32, requires_grad=True)
    embedded = embed(hidden, torch.zeros(1, 3, dtype=torch.bool))
    assert (embedded == 0).all()
    embedded.sum().backward()
    for tensor in (hidden, *embed.parameters()):
        assert tensor.grad is not None
        assert (tensor.grad == 0).all()


def test_tokens_outside_a_view_have_exactly_no_gradient() -> None:
    hidden = torch.randn(4, 32, requires_grad=True)
    head()(hidden, torch.tensor([[True, True, False, False]])).pow(2).sum().backward()
    assert hidden.grad is not None
    assert (hidden.grad[2:] == 0).all()
    assert (hidden.grad[:2] != 0).all()


def test_it_begins_the_same_for_a_seed_and_leaves_torchs_random_state_alone() -> None:
    state = torch.get_rng_state()
    one, same, other = ContrastiveHead(32, 16, 1), ContrastiveHead(32, 16, 1), ContrastiveHead(32, 16, 2)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one.projection.weight, same.projection.weight)
    assert not torch.equal(one.projection.weight, other.projection.weight)


def test_bfloat16_hidden_states_are_embedded_in_float32_even_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embedded = head()(torch.randn(3, 32, dtype=torch.bfloat16), torch.ones(1, 3, dtype=torch.bool))
    assert embedded.dtype == torch.float32


# ------------------------------------------------------------------ cotangents

Row = tuple[torch.Tensor, list[View]]
"""Token ids of prompt and response, and views of the response."""


def rows(settings: CarftSettings) -> list[Row]:
    """Two problems, with an annotated trajectory and three rollouts each, of which one or two are correct."""
    draw = torch.Generator().manual_seed(3)

    def response(length: int) -> Response:
        ids = torch.randint(3, 40, (length,), generator=draw).tolist()
        return Response(tuple(ids), tuple(not 4 <= at < 7 for at in range(length)))

    made: list[Row] = []
    for problem, outcomes in {"p": (True, False, None), "q": (False, True, True)}.items():
        prompt = torch.randint(3, 40, (PROMPT,), generator=draw).tolist()
        annotated = response(14)
        attempts = [Attempt(response(10 + 3 * sample), correct) for sample, correct in enumerate(outcomes)]
        responses = [*(attempt.response for attempt in attempts), annotated]
        for each, views in zip(responses, group_views(settings, problem, annotated, attempts), strict=True):
            made.append((torch.tensor([[*prompt, *each.token_ids]]), views))
    return made


def embed(model: Qwen3ForCausalLM, by: ContrastiveHead, row: Row) -> torch.Tensor:
    ids, views = row
    hidden = model.base_model(input_ids=ids).last_hidden_state[0, PROMPT:]
    return by(hidden, torch.tensor([view.tokens for view in views], dtype=torch.bool).reshape(len(views), len(hidden)))


def gradients(loss: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True, retain_graph=True))


@pytest.mark.parametrize("variant", ["positives", "negatives", "both", "pull"])
@pytest.mark.parametrize("micro_batch", [1, 3, 8])
def test_cotangents_give_the_gradient_of_the_whole_batch_whatever_the_micro_batch(
    random_model: Path, variant: str, micro_batch: int
) -> None:
    """The gradient of the denominator is in it: rows of other micro-batches, or processes, are not constants."""
    settings = CarftSettings.model_validate({"variant": variant})
    model, by = Qwen3ForCausalLM.from_pretrained(random_model, dtype=torch.float32), head()
    parameters = [*model.parameters(), *by.parameters()]
    batch = rows(settings)
    keys = [view.key for _, views in batch for view in views]
    full = contrastive_loss(torch.cat([embed(model, by, row) for row in batch]), keys, settings)
    expected = gradients(full, parameters)

    with torch.no_grad():
        gathered = torch.cat([embed(model, by, row) for row in batch])
    loss, derivative = cotangents(gathered, keys, settings)
    parts = derivative.split([len(views) for _, views in batch])
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for at in range(0, len(batch), micro_batch):
        pairs = zip(batch[at : at + micro_batch], parts[at : at + micro_batch], strict=True)
        share = torch.stack([(embed(model, by, row) * part).sum() for row, part in pairs]).sum()
        for so_far, gradient in zip(total, gradients(share, parameters), strict=True):
            so_far += gradient

    assert loss == pytest.approx(float(full.detach()), abs=1e-6)
    assert loss > 0.01
    assert max(float(gradient.abs().max()) for gradient in expected) > 1e-2
    for gradient, other in zip(total, expected, strict=True):
        torch.testing.assert_close(gradient, other, atol=2e-7, rtol=1e-5)


def test_rows_gathered_without_gradient_as_in_the_released_code_give_another_gradient(random_model: Path) -> None:
    """What the test above would not notice if the denominator were constant: it is not small."""
    settings = CarftSettings()
    model, by = Qwen3ForCausalLM.from_pretrained(random_model, dtype=torch.float32), head()
    batch = rows(settings)
    keys = [view.key for _, views in batch for view in views]
    parameters = list(by.parameters())
    whole = torch.cat([embed(model, by, row) for row in batch])
    expected = gradients(contrastive_loss(whole, keys, settings), parameters)
    here = len([view for _, views in batch[:4] for view in views])
    constant = torch.cat([whole[:here], whole[here:].detach()])
    found = gradients(contrastive_loss(constant, keys, settings), parameters)
    assert max(float((one - other).abs().max()) for one, other in zip(found, expected, strict=True)) > 1e-2
