"""Comparison of two evaluations on the same problems: the difference of their pass@1 with its interval.

Problems that are hard for one Reasoner are hard for another, so the difference is taken problem by problem: what the
two have in common drops out, and the interval is narrower than that of two separate accuracies. The problem is the
unit, as in `calmstorm.evaluation.intervals`. The interval is Student's t over the differences of the problems, with
two pseudo-differences that keep it from vanishing where all problems came out alike. Simulated coverage is checked in
tests/evaluation/test_paired.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from scipy.special import stdtrit

from calmstorm.evaluation.intervals import CONFIDENCE, Estimate, macro_average
from calmstorm.records import Record

Outcome = tuple[int, int]
"""(graded samples, correct samples) of a problem."""


class Comparison(Record):
    """How a second evaluation compares with a first; all shares in [0, 1], differences in [-1, 1]."""

    first: float
    """pass@1 of the first on the common problems."""
    second: float
    difference: float
    """Second minus first."""
    ci95: tuple[float, float]
    """95 % interval of the difference, clustered by problem."""
    problems: int
    """Problems with a graded sample in both."""
    better: int
    """Problems on which the second has the higher accuracy."""
    worse: int


def compare_outcomes(pairs: Sequence[tuple[Outcome, Outcome]], confidence: float = CONFIDENCE) -> Comparison | None:
    """Returns the comparison over problems, each with its outcomes in the first and in the second evaluation.

    Args:
        pairs: Problems without a graded sample on one side are left out.
        confidence: Of the interval, in (0, 1).

    Returns:
        None when no problem is left.
    """
    graded = [(one, other) for one, other in pairs if one[0] and other[0]]
    if not graded:
        return None
    first = [correct / samples for (samples, correct), _ in graded]
    second = [correct / samples for _, (samples, correct) in graded]
    differences = [after - before for before, after in zip(first, second, strict=True)]
    samples = [2 / (1 / one[0] + 1 / other[0]) for one, other in graded]
    low, high = _interval(differences, math.fsum(samples) / len(samples), confidence)
    return Comparison(
        first=math.fsum(first) / len(graded),
        second=math.fsum(second) / len(graded),
        difference=math.fsum(differences) / len(graded),
        ci95=(low, high),
        problems=len(graded),
        better=sum(gain > 0 for gain in differences),
        worse=sum(gain < 0 for gain in differences),
    )


def macro_comparison(parts: Mapping[str, Comparison]) -> Comparison:
    """Returns the unweighted mean over independent suites; `parts` is not empty."""
    comparisons = list(parts.values())
    difference = macro_average([Estimate(part.difference, *part.ci95) for part in comparisons], lowest=-1.0)
    return Comparison(
        first=math.fsum(part.first for part in comparisons) / len(comparisons),
        second=math.fsum(part.second for part in comparisons) / len(comparisons),
        difference=difference.mean,
        ci95=(difference.low, difference.high),
        problems=sum(part.problems for part in comparisons),
        better=sum(part.better for part in comparisons),
        worse=sum(part.worse for part in comparisons),
    )


def _interval(differences: Sequence[float], samples: float, confidence: float) -> tuple[float, float]:
    """Student's t interval; `samples` is the number of samples per problem on each side.

    The two pseudo-differences have the square 1 / (2 samples): the most that the difference of two means of so many
    samples can vary within a problem.
    """
    count = len(differences)
    mean = math.fsum(differences) / count
    if count < 2:
        return -1.0, 1.0
    spread = math.fsum((gain - mean) ** 2 for gain in differences) + 2 * (1 / (2 * samples))
    half = float(stdtrit(count - 1, (1 + confidence) / 2)) * math.sqrt(spread / (count + 1) / count)
    return max(-1.0, mean - half), min(1.0, mean + half)
