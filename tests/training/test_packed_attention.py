"""Attention on a CPU: sequences of one row don't see each other, and long ones keep little for the gradient."""

from __future__ import annotations

import pytest
import torch

from calmstorm.training.cpu import attention


def run(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **more: torch.Tensor) -> list[torch.Tensor]:
    """Output and gradients."""
    query, key, value = inputs = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
    output, _ = attention.causal_blocks(torch.nn.Module(), query, key, value, None, 0.5, **more)  # type: ignore[arg-type]
    weights = torch.linspace(0, 1, output.numel()).view_as(output)
    (output * weights).sum().backward()
    return [output.detach(), *(tensor.grad for tensor in inputs if tensor.grad is not None)]


@pytest.fixture
def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(1, 4, 200, 8), torch.randn(1, 2, 200, 8), torch.randn(1, 2, 200, 8)


def test_packed_sequences_do_not_see_each_other(tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    query, key, value = tensors
    packed, *_ = run(query, key, value, cu_seq_lens_q=torch.tensor([0, 70, 71, 200]))
    for start, end in ((0, 70), (70, 71), (71, 200)):
        q, k, v = (tensor[:, :, start:end] for tensor in tensors)
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.5, enable_gqa=True)
        torch.testing.assert_close(packed[:, start:end], expected.transpose(1, 2), atol=1e-5, rtol=1e-5)


def test_making_weights_again_for_the_gradient_changes_nothing(
    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = run(*tensors)
    monkeypatch.setattr(attention, "KEPT_WEIGHTS", 0)
    for again, before in zip(run(*tensors), kept, strict=True):
        torch.testing.assert_close(again, before, atol=0, rtol=0)
