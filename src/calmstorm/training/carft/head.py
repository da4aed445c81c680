"""The head that embeds a trajectory: a learned attention over its tokens, and a projection."""

from __future__ import annotations

import torch
from torch import nn


class ContrastiveHead(nn.Module):
    """Embeds sets of tokens from their hidden states, in float32 whatever the model computes in.

    The source weights tokens by the softmax of its value head. GRPO has none, so the attention is a vector of its own.
    """

    def __init__(self, hidden_size: int, dimensions: int, seed: int) -> None:
        """Begins at random, without touching torch's global random state.

        Args:
            hidden_size: Of the model, D.
            dimensions: Of an embedding, E.
            seed: Of the first values.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.attention = nn.Linear(hidden_size, 1, bias=False, dtype=torch.float32)
            self.projection = nn.Linear(hidden_size, dimensions, dtype=torch.float32)

    def forward(self, hidden: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        """Embeds the views of one trajectory.

        Args:
            hidden: (C, D), the final norm's output at each token of the response.
            views: (V, C), bool: which tokens each view selects.

        Returns:
            (V, E), float32. A view that selects nothing is zero.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.float()
            scores = self.attention(hidden).squeeze(-1)  # (C,)
            lowest = torch.finfo(scores.dtype).min
            weights = torch.softmax(scores.masked_fill(~views, lowest), dim=-1)  # (V, C)
            embedded: torch.Tensor = self.projection(weights.masked_fill(~views, 0.0) @ hidden)
            return embedded * views.any(-1, keepdim=True)
