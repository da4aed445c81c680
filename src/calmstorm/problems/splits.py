"""Parts for SFT, RL and test drawn from several benchmarks, with no problem in two places (paper table 4).

Benchmarks contain each other: most of NLP4LP and of NL4Opt stands in OptiBench too. Texts that are the same after
normalisation, and near duplicates, are therefore kept together as one unit over all benchmarks, and a unit is used
once, if at all: by one benchmark, in one part. What a part lacks is reported, never filled up.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

from calmstorm.problems.contamination import near_pairs, normalised, text_key
from calmstorm.records import LabelStatus, Problem, Record


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


class Candidate(NamedTuple):
    """A problem that may be drawn."""

    problem: Problem
    suspect: bool = False


def draw_splits(
    pools: Mapping[str, Iterable[Candidate]],
    sizes: Mapping[str, Sizes],
    seed: int,
    contaminated: Iterable[str] = (),
) -> Split:
    """Draws the parts. The same pools, sizes and seed give the same parts.

    Args:
        pools: the problems of each benchmark.
        sizes: how many of each to draw. Benchmarks with fewer to spare draw first; those that lack some anyway, last.
        seed: of the draw.
        contaminated: normalised texts that must not be drawn.
    """
    forbidden = set(contaminated)
    read = {name: list(pool) for name, pool in pools.items()}
    usable = {
        name: [each.problem for each in pool if _is_usable(each) and normalised(each.problem.question) not in forbidden]
        for name, pool in read.items()
    }
    units = _units([problem for pool in usable.values() for problem in pool])
    members: dict[str, dict[int, list[Problem]]] = {name: defaultdict(list) for name in usable}
    for name, pool in usable.items():
        for problem in pool:
            members[name][units[text_key(problem.question)]].append(problem)
    taken: set[int] = set()
    parts: dict[Part, list[Problem]] = {part: [] for part in Part}
    done: dict[str, BenchmarkSplit] = {}
    slack = {name: len(pool) - sum(sizes[name]) for name, pool in usable.items()}
    for name in sorted(usable, key=lambda name: (slack[name] < 0, slack[name], name)):
        others = {other: pool for other, pool in members.items() if other != name}
        wanted = {  # by how many that lack some anyway, and by how many in all
            unit: (sum(slack[other] < 0 for other in holders), len(holders))
            for unit in members[name]
            if (holders := [other for other, pool in others.items() if unit in pool])
        }
        done[name] = _draw(name, members[name], sizes[name], seed, taken, wanted, parts)
    for name, candidates in read.items():
        numbers = [each for each in candidates if each.problem.answer is not None]
        update = {
            "rows": len(candidates),
            "without_number": len(candidates) - len(numbers),
            "suspect": sum(each.suspect for each in numbers),
            "contaminated": sum(map(_is_usable, candidates)) - len(usable[name]),
        }
        done[name] = done[name].model_copy(update=update)
    order = {name: number for number, name in enumerate(read)}
    for problems in parts.values():
        problems.sort(key=lambda problem: order[problem.suite])
    return Split(parts, [done[name] for name in read])


def shared_texts(parts: Mapping[str, Sequence[Problem]]) -> dict[tuple[str, str], int]:
    """Returns for each two parts how many texts they share after normalisation; for checking a split made anywhere."""
    keys = {name: {normalised(problem.question) for problem in problems} for name, problems in parts.items()}
    return {(one, other): len(keys[one] & keys[other]) for one, other in combinations(keys, 2)}


def _is_usable(each: Candidate) -> bool:
    return each.problem.status is LabelStatus.OPTIMAL and each.problem.answer is not None and not each.suspect


def _draw(
    name: str,
    members: Mapping[int, list[Problem]],
    sizes: Sizes,
    seed: int,
    taken: set[int],
    wanted: Mapping[int, tuple[int, int]],
    parts: dict[Part, list[Problem]],
) -> BenchmarkSplit:
    """Draws one benchmark: units that other benchmarks want least first, whole units only, the test part first."""
    free = sorted(unit for unit in members if unit not in taken)
    random.Random(f"{seed}/{name}").shuffle(free)
    free.sort(key=lambda unit: wanted.get(unit, (0, 0)))
    asked = {Part.TEST: sizes.test, Part.SFT: sizes.sft, Part.RL: sizes.rl}
    elsewhere = len(members) - len(free)
    drawn = {}
    needed = sum(asked.values())
    pool = free[:needed]
    random.Random(f"{seed}/{name}/parts").shuffle(pool)
    waiting = pool + free[needed:]
    for part, size in asked.items():
        left, later = size, []
        for unit in waiting:
            problems = members[unit]
            if len(problems) <= left:
                left -= len(problems)
                taken.add(unit)
                parts[part] += [_renamed(name, problem) for problem in problems]
            else:
                later.append(unit)
        waiting = later
        drawn[part] = size - left
    return BenchmarkSplit(
        benchmark=name,
        rows=0,
        without_number=0,
        suspect=0,
        contaminated=0,
        elsewhere=elsewhere,
        asked=asked,
        drawn=drawn,
    )


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
    leader = list(range(len(texts)))

    def find(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    for one, other in near_pairs(texts):
        leader[find(other)] = find(one)
    return {key: find(number) for key, number in numbers.items()}
