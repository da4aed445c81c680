"""Confidence intervals for accuracies measured on several samples of each problem.

Samples of one problem are alike, so the problem is the unit: an interval that treats 8 samples as 8 problems is too
narrow by up to a factor of 2.8. `clustered_interval` is Wilson's score interval at the effective number of samples,
n problems / r, where r = Var(problem means) / (p (1 - p)) runs from 1/k (samples independent) to 1 (problems all right
or all wrong). r is estimated, hence Student's t with n - 1 degrees of freedom, and drawn towards 1 by one
pseudo-problem, which keeps few problems honest. Since r cannot exceed 1, Wilson's interval on n whole problems bounds
it: the narrower of the two is returned. Simulated coverage is checked in tests/evaluation/test_intervals.py.

Macro averages use MOVER (Zou and Donner, 2008), which combines intervals without assuming them symmetric.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import ndtri, stdtrit

CONFIDENCE = 0.95
_PSEUDO_PROBLEMS = 1


class Estimate(NamedTuple):
    """A mean with its interval; a share, or a difference of two."""

    mean: float
    low: float
    high: float


def clustered_interval(means: Sequence[float], samples: float, confidence: float = CONFIDENCE) -> Estimate:
    """Returns the mean of problem means with its interval.

    Args:
        means: Accuracy of each problem over its samples, in [0, 1]; not empty.
        samples: Samples per problem, on average, >= 1.
        confidence: Of the interval, in (0, 1).
    """
    count = len(means)
    mean = math.fsum(means) / count
    tail = (1 + confidence) / 2
    whole = _wilson(mean, count, float(ndtri(tail)))
    spread = mean * (1 - mean)
    if count < 2 or spread <= 0:  # nothing varies, so nothing tells how alike the samples are
        return Estimate(mean, *whole)
    variance = math.fsum((own - mean) ** 2 for own in means) / (count - 1)
    ratio = (count * variance / spread + _PSEUDO_PROBLEMS) / (count + _PSEUDO_PROBLEMS)
    ratio = min(max(ratio, 1 / samples), 1.0)
    estimated = _wilson(mean, count / ratio, float(stdtrit(count - 1, tail)))
    return Estimate(mean, *min(whole, estimated, key=lambda interval: interval[1] - interval[0]))


def macro_average(parts: Sequence[Estimate], lowest: float = 0.0) -> Estimate:
    """Returns the unweighted mean over independent suites with its interval; it lies between `lowest` and 1.

    Args:
        parts: Of each suite; not empty.
        lowest: What a part can be at least: 0 for shares, -1 for differences of shares.
    """
    count = len(parts)
    mean = math.fsum(part.mean for part in parts) / count
    below = math.sqrt(math.fsum((part.mean - part.low) ** 2 for part in parts)) / count
    above = math.sqrt(math.fsum((part.high - part.mean) ** 2 for part in parts)) / count
    return Estimate(mean, max(lowest, mean - below), min(1.0, mean + above))


def _wilson(mean: float, count: float, quantile: float) -> tuple[float, float]:
    square = quantile * quantile
    centre = (mean + square / (2 * count)) / (1 + square / count)
    half = quantile * math.sqrt(mean * (1 - mean) / count + square / (4 * count * count)) / (1 + square / count)
    return max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))
