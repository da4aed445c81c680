from __future__ import annotations

import numpy as np
import pytest
import torch

from calmstorm.reasoner.engine.sampler import sample, stream_key, uniforms


def sample_many(logits, temperature: float, top_p: float, count: int, seed: int = 0):
    keys = np.full(count, stream_key(seed, np.arange(4, dtype=np.int32)), np.uint64)
    return sample(
        torch.tensor(logits).repeat(count, 1),
        np.full(count, temperature, np.float32),
        np.full(count, top_p, np.float32),
        keys,
        np.arange(count, dtype=np.int64),
    )


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 0.05])
def test_frequencies_are_those_of_the_truncated_distribution(top_p):
    logits = [2.0, 1.0, 0.5, 0.0, -1.0]
    tokens, logprobs = sample_many(logits, 0.8, top_p, 20000)
    probs = torch.softmax(torch.tensor(logits) / 0.8, -1).numpy()
    before = np.cumsum(probs) - probs
    expected = np.where(before < top_p, probs, 0)
    expected /= expected.sum()
    frequencies = np.bincount(tokens, minlength=5) / len(tokens)
    assert np.abs(frequencies - expected).max() < 0.015
    assert np.allclose(logprobs, np.log(probs)[tokens], atol=1e-5)


def test_impossible_tokens_are_never_drawn():
    tokens, _ = sample_many([0.0, -np.inf, 0.0, -np.inf], 1.0, 1.0, 5000)
    assert set(tokens.tolist()) == {0, 2}


def test_greedy_and_sampled_rows_share_a_batch():
    logits = torch.tensor([[0.0, 3.0, 1.0]]).repeat(2, 1)
    tokens, logprobs = sample(
        logits,
        np.array([0.0, 5.0], np.float32),
        np.ones(2, np.float32),
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
