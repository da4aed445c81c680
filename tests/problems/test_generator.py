from __future__ import annotations

import hashlib
import random
from collections import Counter
from itertools import islice

import pytest

from calmstorm.errors import SettingsError
from calmstorm.problems.case import Layout
from calmstorm.problems.generator import (
    COMPLEX_SIZES,
    EASY_SIZES,
    FAMILIES,
    Side,
    cases,
    draw,
    generate,
    side_of,
)
from calmstorm.problems.solve import solve_with_cbc, solve_with_highs, solvers_agree
from calmstorm.problems.texts import normalised
from calmstorm.records import Domain, LinearModel, ReferenceConstraint, Sense

SIZES = (2, 3, 4, 5, 6)


@pytest.fixture(scope="module")
def drawn() -> dict[str, list]:
    rng = random.Random(11)
    return {family: [draw(rng, family, size) for size in SIZES for _ in range(3)] for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_both_solvers_find_the_same_optimum(family, drawn):
    for case, optimum in drawn[family]:
        assert solve_with_highs(case.model) == pytest.approx(optimum)
        assert solve_with_cbc(case.model) == pytest.approx(optimum, rel=1e-6)
        assert optimum >= 10


@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_model_fits_together(family, drawn):
    for case, _ in drawn[family]:
        model = case.model
        count = len(model.variables)
        assert case.family == family
        assert len(model.costs) == len(model.domains) == count
        assert all(len(row.coefficients) == count for row in model.rows)
        assert {row.operator for row in model.rows} <= {"<=", ">=", "=="}
        assert len(set(model.variables)) == count
        assert not case.bounds or len(case.bounds) == len(model.rows)
        assert len({row.name for row in model.rows}) == len(model.rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_and_bound_stands_in_the_text(family, drawn):
    for case, _ in drawn[family]:
        text = case.question.lower().replace(",", "")
        for name in (*case.names, *case.columns):
            assert name.lower() in text
        if case.layout is Layout.LIST and family not in ("set_cover", "blending"):
            for i, row in enumerate(case.model.rows):
                assert row.bound == 0 or case.bound_text(i) in text


@pytest.mark.parametrize("family", FAMILIES)
def test_larger_sizes_give_larger_problems(family):
    rng = random.Random(5)
    small, large = (draw(rng, family, size)[0].model for size in (2, 6))
    assert len(large.variables) > len(small.variables)


def test_wording_differs_within_a_family(drawn):
    for family, found in drawn.items():
        openings = {" ".join(case.question.split()[:2]) for case, _ in found}
        assert len({case.question for case, _ in found}) == len(found), family
        assert len(openings) >= 4, family


def test_the_same_seed_gives_the_same_problems():
    def texts(seed: int) -> list[str]:
        return [p.model_dump_json() for p in generate(13, seed=seed, suite="s", sizes=EASY_SIZES)]

    assert texts(3) == texts(3)
    assert set(texts(3)).isdisjoint(texts(4))


def test_a_seed_gives_the_texts_that_the_pocket_model_was_trained_on():
    texts = hashlib.sha256()
    for family in FAMILIES:
        for size in SIZES:
            rng = random.Random(f"{family} {size}")
            for _ in range(20):
                texts.update(FAMILIES[family](rng, size).question.encode())
    assert texts.hexdigest() == "00fd62f0675f2eddc78678e74f15e3a5ef7cfff2434947d459c1151c2bace93a"


def test_a_longer_draw_begins_like_a_shorter_one():
    short = list(generate(5, seed=3, suite="s", sizes=COMPLEX_SIZES, families=("diet", "fleet")))
    assert list(generate(9, seed=3, suite="s", sizes=COMPLEX_SIZES, families=("diet", "fleet")))[:5] == short


def test_all_families_take_turns():
    problems = list(generate(24, seed=1, suite="easy", sizes=EASY_SIZES))
    assert Counter(p.family for p in problems) == dict.fromkeys(FAMILIES, 2)
    assert [p.id for p in problems[:2]] == ["easy-1-0001", "easy-1-0002"]
    assert len({normalised(p.question) for p in problems}) == 24
    assert all(p.answer is not None and p.label_version == "generated-1" for p in problems)


@pytest.mark.parametrize("side", Side)
def test_a_side_holds_only_its_own_texts(side):
    for case, _ in islice(cases(2, side, EASY_SIZES, ("knapsack", "assignment")), 6):
        assert side_of(case.question) is side


def test_sides_are_disjoint_whatever_the_seed_because_a_text_has_one_side():
    texts = [case.question for seed in (1, 2) for case, _ in islice(cases(seed, Side.ADAPT, (2,), ("diet",)), 5)]
    assert {side_of(text) for text in texts} == {Side.ADAPT}
    assert {side_of(text.upper().replace(" ", "\n")) for text in texts} == {Side.ADAPT}


def test_sides_have_their_shares():
    counts = Counter(side_of(f"problem number {i}") for i in range(4000))
    assert counts[Side.EVALUATE] / 4000 == pytest.approx(1 / 8, abs=0.02)
    assert counts[Side.ADAPT] / 4000 == pytest.approx(1 / 8, abs=0.02)


def test_excluded_texts_do_not_occur():
    first = list(generate(3, seed=3, suite="s", sizes=EASY_SIZES, families=("diet",)))
    exclude = {normalised(first[0].question)}
    again = list(generate(3, seed=3, suite="s", sizes=EASY_SIZES, families=("diet",), exclude=exclude))
    assert [p.question for p in again[:2]] == [p.question for p in first[1:]]


def test_an_unknown_family_is_refused():
    with pytest.raises(SettingsError, match="family is 'poetry'"):
        next(generate(1, seed=1, suite="s", sizes=EASY_SIZES, families=("poetry",)))


def model(sense: Sense, cost: float, *rows: ReferenceConstraint) -> LinearModel:
    return LinearModel(
        sense=sense, objective="x", variables=("x",), costs=(cost,), rows=rows, domains=(Domain.CONTINUOUS,)
    )


def row(operator: str, bound: float) -> ReferenceConstraint:
    return ReferenceConstraint(name="r", coefficients=(1.0,), operator=operator, bound=bound)


def test_a_model_without_optimum_has_none():
    for broken in (model(Sense.MAXIMIZE, 1.0, row(">=", 1.0)), model(Sense.MINIMIZE, 1.0, row("<=", -1.0))):
        assert solve_with_highs(broken) is None
        assert solve_with_cbc(broken) is None
        assert solvers_agree(broken)
    assert solve_with_highs(model(Sense.MAXIMIZE, 2.0, row("==", 3.0))) == pytest.approx(6.0)
