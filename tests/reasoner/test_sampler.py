from __future__ import annotations

import numpy as np
import pytest
import torch

from calmstorm.reasoner.engine.sampler import Truncation, sample, stream_key, uniforms


def truncation(count: int, top_p: float = 1.0, top_k: int = 0, min_p: float = 0.0) -> Truncation:
    return Truncation(
        np.full(count, top_p, np.float32), np.full(count, top_k, np.int64), np.full(count, min_p, np.float32)
    )


def sample_many(logits, temperature: float, count: int, seed: int = 0, **limits):
    keys = np.full(count, stream_key(seed, np.arange(4, dtype=np.int32)), np.uint64)
    return sample(
        torch.tensor(logits, dtype=torch.float32).repeat(count, 1),
        truncation(count, **limits),
        np.full(count, temperature, np.float32),
        keys,
        np.arange(count, dtype=np.int64),
    )


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 0.05])
def test_frequencies_are_those_of_the_truncated_distribution(top_p):
    logits = [2.0, 1.0, 0.5, 0.0, -1.0]
    tokens, logprobs = sample_many(logits, 0.8, 20000, top_p=top_p)
    probs = torch.softmax(torch.tensor(logits) / 0.8, -1).numpy()
    before = np.cumsum(probs) - probs
    expected = np.where(before < top_p, probs, 0)
    expected /= expected.sum()
    frequencies = np.bincount(tokens, minlength=5) / len(tokens)
    assert np.abs(frequencies - expected).max() < 0.015
    assert np.allclose(logprobs, np.log(probs)[tokens], atol=1e-5)


def truncated(probs: np.ndarray, top_p: float, top_k: int, min_p: float) -> np.ndarray:
    """What may be drawn, one row and one token at a time: top_k and min_p, then the nucleus of what they leave."""
    ordered = np.sort(probs)[::-1]
    least = max(min_p * ordered[0], ordered[top_k - 1] if 0 < top_k < len(probs) else 0)
    kept = np.where(probs >= least, probs, 0)
    kept /= kept.sum()
    above = np.array([kept[kept > own].sum() for own in kept])
    kept = np.where((above < top_p) | (top_p >= 1), kept, 0)
    return kept / kept.sum()


@pytest.mark.parametrize("seed", range(4))
def test_each_row_is_truncated_as_it_asks(seed):
    rng = np.random.default_rng(seed)
    vocabulary, draws = 12, 4000
    limits = [
        (
            float(rng.choice([1.0, 0.95, 0.6])),
            int(rng.choice([0, 1, 2, 5, 11, 12, 500])),
            float(rng.choice([0, 0.02, 0.3])),
        )
        for _ in range(6)
    ]
    logits = rng.normal(scale=2, size=(len(limits), vocabulary)).astype(np.float32)
    temperature = rng.choice([0.6, 1.0, 1.7], len(limits)).astype(np.float32)
    top_p, top_k, min_p = (np.repeat(np.array(column), draws) for column in zip(*limits, strict=True))
    rows = len(limits) * draws
    tokens, logprobs = sample(
        torch.from_numpy(np.repeat(logits, draws, 0)),
        Truncation(top_p.astype(np.float32), top_k.astype(np.int64), min_p.astype(np.float32)),
        np.repeat(temperature, draws),
        np.full(rows, stream_key(seed, np.arange(3, dtype=np.int32)), np.uint64),
        np.arange(rows, dtype=np.int64),
    )
    for row, limit in enumerate(limits):
        scaled = logits[row].astype(np.float64) / temperature[row]
        before = np.exp(scaled - scaled.max())
        before /= before.sum()
        drawn = tokens[row * draws : (row + 1) * draws]
        expected = truncated(before, *limit)
        frequencies = np.bincount(drawn, minlength=vocabulary) / draws
        assert set(np.flatnonzero(frequencies)) <= set(np.flatnonzero(expected)), limit
        assert np.abs(frequencies - expected).max() < 0.04, limit
        assert np.allclose(logprobs[row * draws : (row + 1) * draws], np.log(before)[drawn], atol=1e-4)


def test_a_row_without_limits_draws_the_same_beside_one_that_has_them():
    logits = torch.randn(2, 50, generator=torch.Generator().manual_seed(1))
    keys, counters, heat = np.array([5, 6], np.uint64), np.zeros(2, np.int64), np.ones(2, np.float32)
    alone = [sample(logits.clone(), truncation(2), heat, keys, counters + i)[0][0] for i in range(50)]
    limits = Truncation(np.ones(2, np.float32), np.array([0, 3]), np.array([0, 0.1], np.float32))
    beside = [sample(logits.clone(), limits, heat, keys, counters + i)[0][0] for i in range(50)]
    assert alone == beside


def test_greedy_rows_take_no_notice_of_limits():
    tokens, logprobs = sample_many([0.0, 3.0, 1.0], 0.0, 3, top_k=1, min_p=0.9)
    assert tokens.tolist() == [1, 1, 1]
    assert np.allclose(logprobs, torch.log_softmax(torch.tensor([0.0, 3.0, 1.0]), -1)[1].item())


def test_impossible_tokens_are_never_drawn():
    tokens, _ = sample_many([0.0, -np.inf, 0.0, -np.inf], 1.0, 5000)
    assert set(tokens.tolist()) == {0, 2}


def test_greedy_and_sampled_rows_share_a_batch():
    logits = torch.tensor([[0.0, 3.0, 1.0]]).repeat(2, 1)
    tokens, logprobs = sample(
        logits,
        truncation(2),
        np.array([0.0, 5.0], np.float32),
        np.array([1, 2], np.uint64),
        np.zeros(2, np.int64),
    )
    assert tokens[0] == 1
    assert np.isclose(logprobs[0], torch.log_softmax(torch.tensor([0.0, 3.0, 1.0]), -1)[1].item())


def test_uniforms_are_even_and_unrelated_between_streams():
    keys = np.array([stream_key(seed, np.zeros(3, np.int32)) for seed in range(200)], np.uint64)
    table = np.stack([uniforms(keys, np.full(200, i), 0) for i in range(200)])
    assert table.min() >= 0
    assert table.max() < 1
    assert abs(table.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(table[:, 0], table[:, 1])[0, 1]) < 0.25
    assert abs(np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]) < 0.02


def test_stream_depends_on_seed_and_prefix():
    a, b = np.arange(5, dtype=np.int32), np.arange(6, dtype=np.int32)
    assert len({stream_key(1, a), stream_key(2, a), stream_key(1, b)}) == 3
    assert stream_key(1, a) == stream_key(1, a.copy())
