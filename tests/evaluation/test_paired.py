from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, norm

from calmstorm.evaluation import Comparison, compare_outcomes, macro_comparison

EVALUATIONS = 2000


def simulated_pairs(
    rng: np.random.Generator, problems: int, samples: int, means: tuple[float, float], likeness: float, alike: float
) -> tuple[np.ndarray, np.ndarray]:
    """Correct samples (evaluations, problems) of two Reasoners whose problem difficulties have the correlation `alike`.

    Difficulties follow a beta law each, joined by a normal copula; samples are binomial given them.
    """
    scale = (1 - likeness) / likeness
    common, own = rng.standard_normal((2, EVALUATIONS, problems))
    both = norm.cdf(common), norm.cdf(alike * common + math.sqrt(1 - alike**2) * own)
    chances = [beta.ppf(u, mean * scale, (1 - mean) * scale) for u, mean in zip(both, means, strict=True)]
    return rng.binomial(samples, chances[0]), rng.binomial(samples, chances[1])


def compared(first: np.ndarray, second: np.ndarray, samples: int) -> Comparison:
    pairs = [((samples, int(a)), (samples, int(b))) for a, b in zip(first, second, strict=True)]
    found = compare_outcomes(pairs)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("problems", "samples", "means", "likeness", "alike"),
    [
        (100, 8, (0.5, 0.6), 0.5, 0.9),
        (100, 8, (0.9, 0.85), 0.3, 0.5),
        (100, 1, (0.3, 0.3), 0.5, 0.9),
        (60, 4, (0.5, 0.7), 0.7, 0.8),
        (200, 8, (0.05, 0.08), 0.5, 0.9),
        (50, 2, (0.7, 0.7), 0.3, 0.0),
        (30, 8, (0.8, 0.9), 0.4, 0.7),
    ],
)
def test_intervals_of_differences_cover_the_truth_as_often_as_they_say(
    problems: int, samples: int, means: tuple[float, float], likeness: float, alike: float
) -> None:
    rng = np.random.default_rng(20251104)
    first, second = simulated_pairs(rng, problems, samples, means, likeness, alike)
    truth = means[1] - means[0]
    intervals = [compared(a, b, samples).ci95 for a, b in zip(first, second, strict=True)]
    covered = sum(low <= truth <= high for low, high in intervals)
    assert 0.93 <= covered / EVALUATIONS <= 0.97


@pytest.mark.parametrize(
    ("problems", "samples", "means", "alike"), [(12, 8, (0.3, 0.5), 0.8), (100, 1, (0.5, 0.5), 0.99)]
)
def test_few_problems_and_all_but_equal_reasoners_err_on_the_wide_side(
    problems: int, samples: int, means: tuple[float, float], alike: float
) -> None:
    rng = np.random.default_rng(3)
    first, second = simulated_pairs(rng, problems, samples, means, 0.7, alike)
    truth = means[1] - means[0]
    intervals = [compared(a, b, samples).ci95 for a, b in zip(first, second, strict=True)]
    assert np.mean([low <= truth <= high for low, high in intervals]) >= 0.94


def test_pairing_gives_a_narrower_interval_than_two_separate_accuracies() -> None:
    first = [((8, n % 9), (8, min(8, n % 9 + 1))) for n in range(90)]
    apart = [((8, n % 9), (8, min(8, (n * 7 + 3) % 9 + 1))) for n in range(90)]
    paired, shuffled = compare_outcomes(first), compare_outcomes(apart)
    assert paired is not None
    assert shuffled is not None
    assert paired.difference == pytest.approx(shuffled.difference, abs=0.02)
    assert paired.ci95[1] - paired.ci95[0] < (shuffled.ci95[1] - shuffled.ci95[0]) / 3
    assert paired.ci95[0] > 0


def test_a_problem_without_a_graded_sample_on_one_side_is_left_out() -> None:
    found = compare_outcomes([((2, 2), (0, 0)), ((0, 0), (2, 1)), ((2, 1), (4, 4)), ((2, 2), (2, 0))])
    assert found is not None
    assert (found.problems, found.better, found.worse) == (2, 1, 1)
    assert (found.first, found.second, found.difference) == (0.75, 0.5, -0.25)
    assert compare_outcomes([((1, 1), (0, 0))]) is None


def test_equal_outcomes_leave_room_for_doubt_that_shrinks_with_problems_and_samples() -> None:
    def half(problems: int, samples: int) -> float:
        found = compare_outcomes([((samples, samples), (samples, samples))] * problems)
        assert found is not None
        assert found.difference == 0 > found.ci95[0]
        return found.ci95[1]

    assert half(10, 1) > half(100, 1) > half(100, 8) > 0
    assert half(1, 8) == 1.0


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30))
def test_turning_a_comparison_round_turns_its_sign(rows: list[tuple[int, int]]) -> None:
    there = compare_outcomes([((4, a), (4, b)) for a, b in rows])
    back = compare_outcomes([((4, b), (4, a)) for a, b in rows])
    assert there is not None
    assert back is not None
    assert there.difference == pytest.approx(-back.difference)
    assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))
    assert -1 <= there.ci95[0] <= there.difference <= there.ci95[1] <= 1


def test_a_macro_difference_weighs_every_suite_the_same() -> None:
    small = compare_outcomes([((1, 0), (1, 1))] * 5 + [((1, 1), (1, 1))] * 5)
    large = compare_outcomes([((1, 1), (1, 1))] * 90)
    assert small is not None
    assert large is not None
    macro = macro_comparison({"small": small, "large": large})
    assert macro.difference == pytest.approx(0.25)
    assert macro.problems == 100
    assert macro.ci95[0] > small.ci95[0] / 2 - 0.05
