"""Log-probabilities of responses to a shared prompt, for training on a CPU.

The samples of a group answer the same prompt. It is run once, and its keys and values, gradient included, serve all of
them: with prompts as long as responses this halves the work. Rows with different prompts are scored group by group.
Logits are made in parts and once more for the gradient: of 16,384 tokens and a vocabulary of 151,936 they are 10 GB.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from calmstorm.training.cpu.attention import right_padded

LOGITS = 2**26
"""Logits held at once; 256 MiB in float32."""


class Scored(NamedTuple):
    """What is known of the tokens of completions; values on padding mean nothing."""

    logprobs: torch.Tensor
    """(B, C)."""
    entropies: torch.Tensor
    """(B, C), nats, of the distribution each token was drawn from; without gradient."""
    hidden: torch.Tensor
    """(B, C, D), the final norm's output at each token itself: the last one is run through the model too."""


def score(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    completion_width: int,
    temperature: float,
) -> Scored:
    """Scores completions under the sampling distribution.

    Args:
        model: A causal language model on the CPU.
        input_ids: (B, P + C); prompts padded on the left, completions on the right.
        attention_mask: (B, P + C); 0 on padding.
        completion_width: C.
        temperature: Of the sampling distribution.
    """
    prompts = [
        tuple(row[mask].tolist())
        for row, mask in zip(
            input_ids[:, :-completion_width], attention_mask[:, :-completion_width].bool(), strict=True
        )
    ]
    completions = input_ids[:, -completion_width:]
    by_row: dict[int, tuple[torch.Tensor, ...]] = {}
    for prompt in dict.fromkeys(prompts):
        rows = [row for row, other in enumerate(prompts) if other == prompt]
        beginning = torch.tensor([prompt], device=input_ids.device)
        scored = _score_group(model, beginning, completions[rows], temperature)
        by_row |= dict(zip(rows, zip(*scored, strict=True), strict=True))
    return Scored(*map(torch.stack, zip(*(by_row[row] for row in range(len(prompts))), strict=True)))


def _score_group(model: PreTrainedModel, prompt: torch.Tensor, completions: torch.Tensor, temperature: float) -> Scored:
    """Scores completions (N, C) of one prompt (1, P)."""
    count = len(completions)
    with right_padded(model):
        beginning = model.base_model(input_ids=prompt, use_cache=True)
        first = beginning.last_hidden_state[:, -1:].expand(count, -1, -1)
        cache = beginning.past_key_values
        cache.batch_repeat_interleave(count)
        own = model.base_model(input_ids=completions, past_key_values=cache, use_cache=True).last_hidden_state
    hidden = torch.cat([first, own[:, :-1]], dim=1)
    head = model.get_output_embeddings()
    width = max(1, LOGITS // (count * model.config.vocab_size))
    parts = [(hidden[:, at : at + width], completions[:, at : at + width]) for at in range(0, hidden.shape[1], width)]
    if len(parts) == 1:
        return Scored(*_logprobs(head, *parts[0], temperature), own)
    scored = [checkpoint(_logprobs, head, *part, temperature, use_reentrant=False) for part in parts]
    logprobs, entropies = zip(*scored, strict=True)
    return Scored(torch.cat(logprobs, dim=1), torch.cat(entropies, dim=1), own)


def _logprobs(
    head: torch.nn.Module, hidden: torch.Tensor, tokens: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns log-probability of each token (N, C), drawn from hidden states (N, C, D), and entropy (N, C)."""
    normalized = torch.log_softmax(head(hidden).float() / temperature, dim=-1)
    with torch.no_grad():
        entropies = -(normalized.exp() * normalized).sum(-1)
    return normalized.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), entropies
