"""Draws the next token of many sequences at once, each from its own stream of random numbers.

A sequence's randomness is a pure function of its key and the index of the token, so what it draws does not depend on
what else is in the batch or on when it joined. Nucleus truncation is done by rejection: draw from the whole
distribution, and draw again when the token lies outside the nucleus. That gives exactly the truncated, renormalised
distribution without sorting the vocabulary, which would cost more than a small model's whole step. Where `top_k` or
`min_p` is set, what they leave, renormalised, is the whole distribution of which the nucleus is taken.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

REDRAWS = 8
"""Rejected draws before the vocabulary is sorted after all; with top_p 0.95 one token in 10^10 needs it."""

ROUNDING = 1e-4
"""Margin for sums of float32 probabilities that are not quite 1."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Truncation(NamedTuple):
    """Which tokens may be drawn, for each of N sequences."""

    top_p: npt.NDArray[np.float32]
    """`(N,)` in (0, 1]."""
    top_k: npt.NDArray[np.int64]
    """`(N,)`; 0 leaves all. Tokens as probable as the last of the most probable ones stay too."""
    min_p: npt.NDArray[np.float32]
    """`(N,)`; share of the most probable token's probability; 0 leaves all."""


def stream_key(seed: int, prefix: npt.NDArray[np.int32]) -> int:
    """Returns the key of the random stream for this seed and prefix: 64 bits, the same on every machine."""
    digest = hashlib.blake2b(prefix.astype("<i4").tobytes(), digest_size=8, salt=(seed % 2**64).to_bytes(8, "little"))
    return int.from_bytes(digest.digest(), "little")


def uniforms(keys: npt.NDArray[np.uint64], counters: npt.NDArray[np.int64], attempt: int) -> npt.NDArray[np.float32]:
    """Returns numbers in [0, 1), one per row: a splitmix64 hash of key, token index and attempt."""
    with np.errstate(over="ignore"):
        bits = keys + (counters.astype(np.uint64) * np.uint64(REDRAWS + 2) + np.uint64(attempt + 1)) * _GOLDEN
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    result: npt.NDArray[np.float32] = (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
    return result


def sample(
    logits: torch.Tensor,
    truncation: Truncation,
    temperature: npt.NDArray[np.float32],
    keys: npt.NDArray[np.uint64],
    counters: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Draws one token per sequence.

    Args:
        logits: `(N, V)` float32; overwritten.
        truncation: Which tokens may be drawn; the likeliest always may.
        temperature: `(N,)`; 0 takes the likeliest token.
        keys: `(N,)` key of each sequence's random stream.
        counters: `(N,)` index of the token within its stream.

    Returns:
        Token ids `(N,)` and their log-probabilities `(N,)` under softmax(logits / temperature), before truncation;
        those of greedy sequences are taken at temperature 1.
    """
    device = logits.device
    greedy = temperature <= 0
    scale = torch.from_numpy(np.where(greedy, np.float32(1), temperature)).to(device)
    logprobs = torch.log_softmax(logits.div_(scale[:, None]), -1)
    if greedy.all():
        chosen = logprobs.argmax(-1)
    else:
        probs = logprobs.exp()
        cut = np.flatnonzero(~greedy & ((truncation.top_k > 0) | (truncation.min_p > 0)))
        if cut.size:
            index = torch.from_numpy(cut).to(device)
            probs[index] = _cut(probs[index], truncation.top_k[cut], truncation.min_p[cut])
        chosen = _nucleus(probs, truncation.top_p, keys, counters, ~greedy)
        if greedy.any():
            rows = torch.from_numpy(np.flatnonzero(greedy)).to(device)
            chosen[rows] = logprobs[rows].argmax(-1)
    picked = logprobs.gather(1, chosen[:, None])[:, 0]
    return chosen.cpu().numpy(), picked.cpu().numpy()


def _cut(probs: torch.Tensor, top_k: npt.NDArray[np.int64], min_p: npt.NDArray[np.float32]) -> torch.Tensor:
    """Returns what `top_k` and `min_p` leave of each row, renormalised."""
    device, vocabulary = probs.device, probs.shape[1]
    least = probs.amax(-1) * torch.from_numpy(min_p).to(device)
    limited = np.flatnonzero((top_k > 0) & (top_k < vocabulary))
    if limited.size:
        index = torch.from_numpy(limited).to(device)
        places = torch.from_numpy(top_k[limited] - 1).to(device)
        largest = probs[index].topk(int(top_k[limited].max()), -1).values
        least[index] = torch.maximum(least[index], largest.gather(1, places[:, None])[:, 0])
    kept = torch.where(probs >= least[:, None], probs, 0.0)
    return kept.div_(kept.sum(-1, keepdim=True))


def _nucleus(
    probs: torch.Tensor,
    top_p: npt.NDArray[np.float32],
    keys: npt.NDArray[np.uint64],
    counters: npt.NDArray[np.int64],
    live: npt.NDArray[np.bool_],
) -> torch.Tensor:
    """Draws from the truncated distribution of each row; those of rows that are not `live` mean nothing."""
    device = probs.device
    limit = torch.from_numpy(np.where(top_p < 1, top_p, np.float32(2))).to(device)
    cumulative = probs.cumsum(-1)
    chosen = _invert(cumulative, torch.from_numpy(uniforms(keys, counters, 0)).to(device))
    if not (top_p[live] < 1).any():
        return chosen
    # What is likelier than a token of probability p has at most 1 - p together: most tokens need no look at the others.
    own = probs.gather(1, chosen[:, None])[:, 0]
    doubtful = np.flatnonzero((own < 1 - limit + ROUNDING).cpu().numpy() & live)
    outside = np.zeros(len(live), np.bool_)
    if doubtful.size:
        index = torch.from_numpy(doubtful).to(device)
        outside[doubtful] = (_mass_above(probs[index], chosen[index]) >= limit[index]).cpu().numpy()
    for attempt in range(1, REDRAWS + 1):
        rows = np.flatnonzero(outside)
        if not rows.size:
            return chosen
        index = torch.from_numpy(rows).to(device)
        uniform = torch.from_numpy(uniforms(keys[rows], counters[rows], attempt)).to(device)
        again = _invert(cumulative[index], uniform)
        chosen[index] = again
        outside[rows] = (_mass_above(probs[index], again) >= limit[index]).cpu().numpy()
    rows = np.flatnonzero(outside)
    if rows.size:
        index = torch.from_numpy(rows).to(device)
        uniform = torch.from_numpy(uniforms(keys[rows], counters[rows], REDRAWS + 1)).to(device)
        chosen[index] = _sorted_nucleus(probs[index], limit[index], uniform)
    return chosen


def _invert(cumulative: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Inverse of the distribution function `(N, V)` at `uniform (N,)`; never a token of probability 0."""
    total = cumulative[:, -1]
    target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0].clamp_(max=cumulative.shape[1] - 1)


def _mass_above(probs: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Probability `(N,)` of all tokens likelier than the chosen one; below top_p means inside the nucleus."""
    own = probs.gather(1, chosen[:, None])
    return torch.where(probs > own, probs, 0.0).sum(-1)


def _sorted_nucleus(probs: torch.Tensor, limit: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    ordered, tokens = probs.sort(-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    kept = torch.where((before < limit[:, None]) | (before <= 0), ordered, 0.0)
    return tokens.gather(1, _invert(kept.cumsum(-1), uniform)[:, None])[:, 0]
