from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmstorm.evaluation import Estimate, clustered_interval, macro_average
from calmstorm.evaluation.summary import pass_at_k

EVALUATIONS = 2000


def simulated_means(rng: np.random.Generator, problems: int, samples: int, mean: float, likeness: float) -> np.ndarray:
    """Accuracies (evaluations, problems): problem difficulties from a beta law, samples binomial given them."""
    scale = (1 - likeness) / likeness
    chances = rng.beta(mean * scale, (1 - mean) * scale, (EVALUATIONS, problems))
    return rng.binomial(samples, chances) / samples


@pytest.mark.parametrize(
    ("problems", "samples", "mean", "likeness"),
    [
        (100, 8, 0.6, 0.5),
        (100, 8, 0.9, 0.3),
        (100, 8, 0.1, 0.5),
        (100, 1, 0.3, 0.5),
        (60, 4, 0.5, 0.7),
        (300, 8, 0.05, 0.5),
        (300, 8, 0.95, 0.2),
        (50, 2, 0.7, 0.3),
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(
    problems: int, samples: int, mean: float, likeness: float
) -> None:
    rng = np.random.default_rng(20251104)
    covered = 0
    for means in simulated_means(rng, problems, samples, mean, likeness):
        estimate = clustered_interval(means.tolist(), samples)
        covered += estimate.low <= mean <= estimate.high
    assert 0.93 <= covered / EVALUATIONS <= 0.97


@pytest.mark.parametrize(("problems", "mean"), [(5, 0.5), (10, 0.9), (10, 0.2), (20, 0.05)])
def test_few_problems_err_on_the_wide_side(problems: int, mean: float) -> None:
    rng = np.random.default_rng(7)
    estimates = [clustered_interval(means.tolist(), 8) for means in simulated_means(rng, problems, 8, mean, 0.3)]
    assert np.mean([each.low <= mean <= each.high for each in estimates]) >= 0.93


def test_treating_samples_as_problems_would_have_covered_far_too_little() -> None:
    rng = np.random.default_rng(7)
    naive = 0
    for means in simulated_means(rng, 100, 8, 0.6, 0.5):
        estimate = clustered_interval(np.repeat(means, 8).tolist(), 8)
        naive += estimate.low <= 0.6 <= estimate.high
    assert naive / EVALUATIONS < 0.8


def test_macro_averages_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    suites = [(60, 0.9), (100, 0.4), (40, 0.2)]
    draws = [simulated_means(rng, problems, 8, mean, 0.4) for problems, mean in suites]
    truth = sum(mean for _, mean in suites) / len(suites)
    covered = 0
    for row in range(EVALUATIONS):
        estimate = macro_average([clustered_interval(draw[row].tolist(), 8) for draw in draws])
        covered += int(estimate.low <= truth <= estimate.high)
    assert 0.93 <= covered / EVALUATIONS <= 0.97


@given(st.lists(st.integers(0, 8).map(lambda n: n / 8), min_size=1, max_size=40))
def test_an_interval_lies_in_the_unit_range_and_holds_its_mean(means: list[float]) -> None:
    mean, low, high = clustered_interval(means, 8)
    assert 0 <= low <= mean <= high <= 1
    assert high > low
    assert mean == pytest.approx(sum(means) / len(means))


def test_perfect_scores_leave_room_for_doubt_that_shrinks_with_problems() -> None:
    assert clustered_interval([1.0] * 10, 8).low == pytest.approx(0.722, abs=0.002)
    assert clustered_interval([1.0] * 100, 8).low == pytest.approx(0.963, abs=0.002)
    assert clustered_interval([0.0], 1).high < 1


def test_one_sample_a_problem_gives_wilson_s_interval() -> None:
    estimate = clustered_interval([1.0] * 30 + [0.0] * 70, 1)
    assert estimate == pytest.approx(Estimate(0.3, 0.2189, 0.3958), abs=2e-4)


@pytest.mark.parametrize(
    ("problems", "samples", "mean", "likeness", "k"),
    [(100, 8, 0.5, 0.5, 2), (100, 8, 0.5, 0.5, 8), (100, 8, 0.2, 0.3, 4), (200, 8, 0.1, 0.2, 2), (60, 4, 0.6, 0.7, 4)],
)
def test_intervals_of_pass_at_k_cover_the_truth_as_often_as_they_say(
    problems: int, samples: int, mean: float, likeness: float, k: int
) -> None:
    rng = np.random.default_rng(20251120)
    scale = (1 - likeness) / likeness
    fail = 1 - mean
    truth = 1 - np.prod([(fail * scale + step) / (scale + step) for step in range(k)])  # E[(1 - p)^k] of a beta law
    covered = 0
    for means in simulated_means(rng, problems, samples, mean, likeness):
        estimate = pass_at_k([(samples, round(each * samples)) for each in means], k)
        assert estimate is not None
        covered += int(estimate.low <= truth <= estimate.high)
    assert 0.93 <= covered / EVALUATIONS <= 0.97
