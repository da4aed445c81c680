from __future__ import annotations

import os
import random
from collections import Counter
from pathlib import Path

import pytest

from calmstorm.problems.benchmarks import Labelled, find_version, load_labelled
from calmstorm.problems.splits import PAPER_SIZES, Part, Sizes, Split, draw_splits, shared_texts
from calmstorm.problems.texts import near_pairs, normalised
from calmstorm.records import LabelStatus, Problem

FOLDER = Path(os.environ.get("CALM_BENCHMARKS") or Path(__file__).parents[3] / "shared" / "benchmarks")
published = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the benchmark data is not here: set CALM_BENCHMARKS to its folder"
)
WORDS = ["".join(random.Random(number).choices("abcdefghijklmnopqrstuvwxyz", k=7)) for number in range(5000)]


def text(number: int) -> str:
    return " ".join(random.Random(f"text {number}").choices(WORDS, k=30))


def labelled(id: str, question: str, answer: float | None = 1.0, doubt: str = "") -> Labelled:
    status = LabelStatus.OPTIMAL if answer is not None else LabelStatus.INFEASIBLE
    return Labelled(Problem(id=id, question=question, answer=answer, status=status), doubt)


def pool(numbers: range) -> list[Labelled]:
    return [labelled(str(number), text(number)) for number in numbers]


def ids(split: Split) -> dict[Part, list[str]]:
    return {part: [problem.id for problem in problems] for part, problems in split.parts.items()}


SIZES = {"a": Sizes(3, 4, 5), "b": Sizes(2, 2, 2)}


def test_parts_have_their_sizes_and_share_nothing() -> None:
    split = draw_splits({"a": pool(range(40)), "b": pool(range(20, 40))}, SIZES, seed=1)
    assert {part: Counter(problem.suite for problem in problems) for part, problems in split.parts.items()} == {
        Part.SFT: {"a": 3, "b": 2},
        Part.RL: {"a": 4, "b": 2},
        Part.TEST: {"a": 5, "b": 2},
    }
    texts = [normalised(problem.question) for problems in split.parts.values() for problem in problems]
    assert len(set(texts)) == len(texts) == 18


def test_the_same_seed_gives_the_same_split_and_another_one_another() -> None:
    pools = {"a": pool(range(40)), "b": pool(range(20, 40))}
    assert ids(draw_splits(pools, SIZES, 1)) == ids(draw_splits(pools, SIZES, 1))
    assert ids(draw_splits(pools, SIZES, 1)) != ids(draw_splits(pools, SIZES, 2))


def test_the_ids_name_the_benchmark_and_are_unique() -> None:
    split = draw_splits({"a": pool(range(20)), "b": pool(range(20, 40))}, SIZES, seed=1)
    names = [id for part in ids(split).values() for id in part]
    assert len(set(names)) == len(names)
    assert all(name.startswith(("a-", "b-")) for name in names)


def test_a_benchmark_leaves_to_a_smaller_one_what_only_that_can_use() -> None:
    small, large = pool(range(6)), pool(range(18))
    split = draw_splits({"a": large, "b": small}, SIZES, seed=3)
    assert [each.drawn for each in split.benchmarks] == [each.asked for each in split.benchmarks]


def test_what_is_lacking_is_reported_and_the_test_part_comes_first() -> None:
    split = draw_splits({"a": pool(range(6))}, {"a": Sizes(3, 4, 5)}, seed=1)
    (of,) = split.benchmarks
    assert of.drawn == {Part.TEST: 5, Part.SFT: 1, Part.RL: 0}


def test_statuses_suspects_and_known_texts_are_left_out_and_counted() -> None:
    rows = [
        *pool(range(10)),
        labelled("x", "infeasible one", None),
        labelled("y", "doubtful one", 1.0, doubt="two questions are asked"),
    ]
    split = draw_splits({"a": rows}, {"a": Sizes(0, 0, 12)}, 1, contaminated=[normalised(text(0)), normalised(text(1))])
    (of,) = split.benchmarks
    assert (of.rows, of.without_number, of.suspect, of.contaminated) == (12, 1, 1, 2)
    assert of.drawn[Part.TEST] == 8


def test_near_duplicates_stay_in_one_part() -> None:
    twins = [labelled(f"twin {number}", text(number) + " once more") for number in range(10)]
    split = draw_splits({"a": [*pool(range(10)), *twins]}, {"a": Sizes(6, 6, 8)}, seed=5)
    where = {problem.id: part for part, problems in split.parts.items() for problem in problems}
    for number in range(10):
        assert where.get(f"a-{number}") == where.get(f"a-twin {number}")
    assert near_pairs([text(1), text(2), text(1) + " again"]) == [(0, 2)]


def test_shared_texts_are_counted_between_any_parts() -> None:
    one, two = ([each.problem for each in pool(numbers)] for numbers in (range(4), range(3, 6)))
    assert shared_texts({"one": one, "two": two}) == {("one", "two"): 1}


# ---------------------------------------------------------------- the published data


@pytest.fixture(scope="module")
def pools() -> dict[str, list[Labelled]]:
    return {name: list(load_labelled(find_version(name), FOLDER)) for name in PAPER_SIZES}


@published
@pytest.mark.parametrize("seed", [1, 2])
def test_the_paper_sizes_are_met_where_the_public_data_suffice(pools: dict[str, list[Labelled]], seed: int) -> None:
    split = draw_splits(pools, PAPER_SIZES, seed)
    short = {
        of.benchmark: {part.value: of.asked[part] - of.drawn[part] for part in Part if of.asked[part] != of.drawn[part]}
        for of in split.benchmarks
    }
    assert {name: parts for name, parts in short.items() if parts} == {"optibench": {"rl": 26}}
    assert {part: len(problems) for part, problems in split.parts.items()} == {"sft": 549, "rl": 693, "test": 540}


@published
def test_no_text_is_in_two_parts_or_in_two_benchmarks(pools: dict[str, list[Labelled]]) -> None:
    split = draw_splits(pools, PAPER_SIZES, 1)
    assert set(shared_texts({part.value: problems for part, problems in split.parts.items()}).values()) == {0}
    drawn = [problem for problems in split.parts.values() for problem in problems]
    sets = {name: [problem for problem in drawn if problem.suite == name] for name in PAPER_SIZES}
    counts = shared_texts(sets)
    assert set(counts.values()) == {0}
    assert ("nl4opt", "optibench") in counts or ("optibench", "nl4opt") in counts
    whole = shared_texts({name: [each.problem for each in pool] for name, pool in pools.items()})
    assert sum(whole.values()) > 500  # the benchmarks as published do overlap


@published
def test_the_same_seed_draws_the_same_of_the_published_data(pools: dict[str, list[Labelled]]) -> None:
    assert ids(draw_splits(pools, PAPER_SIZES, 7)) == ids(draw_splits(pools, PAPER_SIZES, 7))
