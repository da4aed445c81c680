"""Synthetic word problems: drawn by family and size, solved by two solvers, kept apart by an exact rule.

The families and their wording are our own; none is shaped after the text of a public test set. A problem is kept only
when HiGHS and CBC agree on a finite optimum.

Which side a problem falls on (pre-training of the pocket Reasoner, adaptation, evaluation) is a function of a hash of
its normalised text. The three sides are therefore disjoint for any seed and any size, and anyone can check it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from enum import StrEnum

from calmstorm.errors import SettingsError
from calmstorm.problems.case import Case
from calmstorm.problems.families import LIST_FAMILIES
from calmstorm.problems.matrix_families import MATRIX_FAMILIES
from calmstorm.problems.solve import solve_with_highs, solvers_agree
from calmstorm.problems.texts import normalised
from calmstorm.records import LabelStatus, Problem

FAMILIES: dict[str, Callable[[random.Random, int], Case]] = {**LIST_FAMILIES, **MATRIX_FAMILIES}
GENERATOR_VERSION = "1"
"""Version of the families; the label version of every generated problem."""
EASY_SIZES = (2, 3)
COMPLEX_SIZES = (4, 5, 6)


class Side(StrEnum):
    """Which use a problem text belongs to."""

    PRETRAIN = "pretrain"
    ADAPT = "adapt"
    """Curation, SFT and RL."""
    EVALUATE = "evaluate"


def side_of(text: str) -> Side:
    """Returns the side that a problem text belongs to, by the hash of its normalised form."""
    bucket = hashlib.sha256(normalised(text).encode()).digest()[0] % 8
    return Side.EVALUATE if bucket == 0 else Side.ADAPT if bucket == 1 else Side.PRETRAIN


def draw(rng: random.Random, family: str, size: int) -> tuple[Case, float]:
    """Draws a case of a family with a finite optimum of at least 10, and returns it with that optimum (by HiGHS).

    The lower limit keeps an answer printed with two decimals within the relative tolerance of 1e-3.
    """
    while True:
        case = FAMILIES[family](rng, size)
        optimum = solve_with_highs(case.model)
        if optimum is not None and optimum >= 10:
            return case, optimum


def cases(
    seed: int, side: Side, sizes: tuple[int, ...], families: tuple[str, ...] = tuple(FAMILIES)
) -> Iterator[tuple[Case, float]]:
    """Yields an endless stream of distinct cases of a side, families in turn, solved by HiGHS."""
    rng = random.Random(f"{seed}/{side.value}/{','.join(map(str, sizes))}")
    seen: set[str] = set()
    while True:
        for family in families:
            while True:
                case, optimum = draw(rng, family, rng.choice(sizes))
                if side_of(case.question) is side and (text := normalised(case.question)) not in seen:
                    break
            seen.add(text)
            yield case, optimum


def generate(
    count: int,
    *,
    seed: int,
    suite: str,
    sizes: tuple[int, ...],
    side: Side = Side.EVALUATE,
    families: tuple[str, ...] = tuple(FAMILIES),
    exclude: frozenset[str] | set[str] = frozenset(),
) -> Iterator[Problem]:
    """Yields `count` problems, each with a label on which HiGHS and CBC agree.

    Args:
        count: How many.
        seed: The same seed gives the same problems.
        suite: Written into the problems, and the first part of their ids.
        sizes: Sizes to draw from.
        side: Side of the split the texts must fall on.
        families: Families to take in turn.
        exclude: Normalised texts that must not occur.

    Raises:
        SettingsError: A family is unknown.
    """
    for family in families:
        if family not in FAMILIES:
            raise SettingsError(f"family is {family!r}; known are {', '.join(FAMILIES)}: choose among these")
    made = 0
    for case, optimum in cases(seed, side, sizes, families):
        if made == count:
            return
        if normalised(case.question) in exclude or not solvers_agree(case.model):
            continue
        made += 1
        yield Problem(
            id=f"{suite}-{seed}-{made:04d}",
            question=case.question,
            answer=round(optimum, 6),
            status=LabelStatus.OPTIMAL,
            suite=suite,
            label_version=f"generated-{GENERATOR_VERSION}",
            family=case.family,
            reference=case.model,
        )
