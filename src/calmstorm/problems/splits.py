"""Parts for SFT, RL and test drawn from several benchmarks, with no problem in two places (paper table 4).

Benchmarks contain each other: most of NLP4LP and of NL4Opt stands in OptiBench too. Texts that are the same after
normalisation, and near duplicates, are therefore kept together as one unit over all benchmarks, and a unit is used
once, if at all: by one benchmark, in one part. What a part lacks is reported, never filled up.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

from calmstorm.problems.benchmarks import Labelled
from calmstorm.problems.texts import near_pairs, normalised, text_key
from calmstorm.records import Problem, Record


class Part(StrEnum):
    """What a part is for."""

    TEST = "test"
    SFT = "sft"
    RL = "rl"


class Sizes(NamedTuple):
    """Problems of a benchmark in each part."""

    sft: int
    rl: int
    test: int


PAPER_SIZES: dict[str, Sizes] = {
    "nl4opt": Sizes(8, 8, 30),
    "mamo-easy": Sizes(200, 350, 100),
    "mamo-complex": Sizes(55, 56, 100),
    "industryor": Sizes(6, 12, 80),
    "optmath": Sizes(30, 36, 100),
    "optibench": Sizes(250, 257, 100),
    "complexor": Sizes(0, 0, 18),
    "nlp4lp": Sizes(0, 0, 12),
}
"""Sizes of the paper's table 4."""


class BenchmarkSplit(Record):
    """What was drawn from one benchmark."""

    benchmark: str
    rows: int
    without_number: int
    """Left out: the label is no number."""
    suspect: int
    """Left out: the label is doubtful."""
    contaminated: int
    """Left out: the text occurs in a training file that was named."""
    elsewhere: int
    """Units that another benchmark had taken when this one drew."""
    asked: dict[Part, int]
    drawn: dict[Part, int]


class Split(NamedTuple):
    """The parts, and how they came about."""

    parts: dict[Part, list[Problem]]
    """Ids are `benchmark-id`, unique over all parts."""
    benchmarks: list[BenchmarkSplit]


def draw_splits(
    pools: Mapping[str, Iterable[Labelled]],
    sizes: Mapping[str, Sizes],
    seed: int,
    contaminated: Iterable[str] = (),
) -> Split:
    """Draws the parts. The same pools, sizes and seed give the same parts.

    Args:
        pools: The problems of each benchmark; those with a doubtful label are not drawn.
        sizes: How many of each to draw. Benchmarks with fewer to spare draw first; those that lack some anyway, last.
        seed: Of the draw.
        contaminated: Normalised texts that must not be drawn.
    """
    members, counts = _members(pools, frozenset(contaminated))
    slack = {name: counts[name]["usable"] - sum(sizes[name]) for name in pools}
    parts: dict[Part, list[Problem]] = {part: [] for part in Part}
    done: dict[str, BenchmarkSplit] = {}
    taken: set[int] = set()
    for name in sorted(pools, key=lambda name: (slack[name] < 0, slack[name], name)):
        own = members[name]
        free = sorted(unit for unit in own if unit not in taken)
        holders = {unit: [other for other in pools if other != name and unit in members[other]] for unit in free}
        # by how many of the others lack some anyway, and by how many there are
        wanted = {unit: (sum(slack[other] < 0 for other in others), len(others)) for unit, others in holders.items()}
        asked = {Part.TEST: sizes[name].test, Part.SFT: sizes[name].sft, Part.RL: sizes[name].rl}
        drawn = _draw(f"{seed}/{name}", {unit: len(own[unit]) for unit in free}, asked, wanted)
        for part, units in drawn.items():
            taken.update(units)
            parts[part] += [_renamed(name, problem) for unit in units for problem in own[unit]]
        done[name] = BenchmarkSplit(
            benchmark=name,
            rows=counts[name].total(),
            without_number=counts[name]["without_number"],
            suspect=counts[name]["suspect"],
            contaminated=counts[name]["contaminated"],
            elsewhere=len(own) - len(free),
            asked=asked,
            drawn={part: sum(len(own[unit]) for unit in units) for part, units in drawn.items()},
        )
    order = list(pools)
    for problems in parts.values():
        problems.sort(key=lambda problem: order.index(problem.suite))
    return Split(parts, [done[name] for name in pools])


def shared_texts(parts: Mapping[str, Sequence[Problem]]) -> dict[tuple[str, str], int]:
    """Returns for each two parts how many texts they share after normalisation; for checking a split made anywhere."""
    keys = {name: {normalised(problem.question) for problem in problems} for name, problems in parts.items()}
    return {(one, other): len(keys[one] & keys[other]) for one, other in combinations(keys, 2)}


def _members(
    pools: Mapping[str, Iterable[Labelled]], forbidden: Collection[str]
) -> tuple[dict[str, dict[int, list[Problem]]], dict[str, Counter[str]]]:
    """Returns for each benchmark the problems that may be drawn, by unit, and how many may be, or why not."""
    usable: dict[str, list[Problem]] = {name: [] for name in pools}
    counts: dict[str, Counter[str]] = {name: Counter() for name in pools}
    for name, pool in pools.items():
        for problem, doubt in pool:
            if problem.answer is None:
                what = "without_number"
            elif doubt:
                what = "suspect"
            elif normalised(problem.question) in forbidden:
                what = "contaminated"
            else:
                what = "usable"
                usable[name].append(problem)
            counts[name][what] += 1
    units = _units(problem for problems in usable.values() for problem in problems)
    members: dict[str, dict[int, list[Problem]]] = {name: defaultdict(list) for name in pools}
    for name, problems in usable.items():
        for problem in problems:
            members[name][units[text_key(problem.question)]].append(problem)
    return members, counts


def _draw(
    seed: str, free: Mapping[int, int], asked: Mapping[Part, int], wanted: Mapping[int, tuple[int, int]]
) -> dict[Part, list[int]]:
    """Draws the units of one benchmark: those that others want least first, whole ones only, the test part first.

    Args:
        seed: Of the draw.
        free: Problems of each unit that may be drawn.
        asked: Problems of each part.
        wanted: How much other benchmarks want a unit.
    """
    units = list(free)
    random.Random(seed).shuffle(units)
    units.sort(key=lambda unit: wanted[unit])
    needed = sum(asked.values())
    waiting, spare = units[:needed], units[needed:]
    random.Random(f"{seed}/parts").shuffle(waiting)
    waiting += spare
    drawn: dict[Part, list[int]] = {part: [] for part in asked}
    for part, left in asked.items():
        later = []
        for unit in waiting:
            if free[unit] <= left:
                left -= free[unit]
                drawn[part].append(unit)
            else:
                later.append(unit)
        waiting = later
    return drawn


def _renamed(benchmark: str, problem: Problem) -> Problem:
    return problem.model_copy(update={"id": f"{benchmark}-{problem.id}", "suite": benchmark})


def _units(problems: Iterable[Problem]) -> dict[str, int]:
    """Returns a number for each text (by `text_key`) that it shares with its copies and near duplicates."""
    numbers: dict[str, int] = {}
    texts: list[str] = []
    for problem in problems:
        key = text_key(problem.question)
        if key not in numbers:
            numbers[key] = len(texts)
            texts.append(problem.question)
    units = list(range(len(texts)))
    for one, other in near_pairs(texts):
        first, second = units[one], units[other]
        units = [first if unit == second else unit for unit in units]
    return {key: units[number] for key, number in numbers.items()}
