from __future__ import annotations

import random
from collections import Counter

import pytest

from calmstorm.pocket.corpus import run_in_process
from calmstorm.pocket.flaws import FLAW_RATES, NO_FLAWS, MistakeKind, make_mistake
from calmstorm.pocket.plan import plan_of
from calmstorm.pocket.traces import read_result
from calmstorm.problems.case import Layout
from calmstorm.problems.generator import FAMILIES, draw
from calmstorm.records import Domain


@pytest.fixture(scope="module")
def drawn() -> list:
    rng = random.Random(4)
    return [draw(rng, family, size) for family in FAMILIES for size in (2, 3, 5)]


def test_the_script_of_a_faithful_plan_finds_the_optimum(drawn):
    for case, optimum in drawn:
        status, value = read_result(run_in_process(plan_of(case).script()))
        assert status == "Optimal", case.question
        assert value == pytest.approx(optimum, rel=1e-4, abs=0.006), case.question


def test_a_plan_states_objective_every_row_and_domain(drawn):
    for case, _ in drawn:
        plan = plan_of(case)
        keys = [key for key, _ in plan.lines()]
        assert keys[0] == "objective"
        assert keys[-1] == "domain"
        assert {row.name for row in plan.rows} <= set(keys)
        assert plan.lines()[0][1].startswith(case.model.sense.value.capitalize())


def test_the_code_of_a_list_copies_the_lines_of_its_plan(drawn):
    for case, _ in drawn:
        plan = plan_of(case)
        if plan.layout is not Layout.LIST:
            continue
        script = plan.script()
        for _, line in plan.lines()[:-1]:
            stated = line.partition(": ")[2]
            for name in case.names:
                stated = stated.replace(name, name.replace(" ", "_"))
            assert f"m += {stated}\n" in script


def test_a_mistake_changes_what_its_kind_says_and_nothing_else(drawn):
    kinds: Counter[MistakeKind] = Counter()
    rng = random.Random(8)
    for case, _ in drawn:
        true = plan_of(case)
        for _ in range(6):
            mistake = make_mistake(rng, true, in_code=True)
            plan = mistake.plan
            kinds[mistake.kind] += 1
            assert plan != true
            changed = {
                "sense": plan.sense is not true.sense,
                "domain": plan.domain is not true.domain,
                "rows": plan.rows != true.rows,
            }
            named = {MistakeKind.SENSE: "sense", MistakeKind.DOMAIN: "domain"}.get(mistake.kind, "rows")
            assert [key for key, differs in changed.items() if differs] == [named]
            assert (plan.names, plan.costs) == (true.names, true.costs)
            if mistake.kind is MistakeKind.DOMAIN:
                assert plan.domain is Domain.CONTINUOUS
            if mistake.kind is MistakeKind.DROPPED:
                assert mistake.row not in [row.name for row in plan.rows]
    assert set(kinds) == set(MistakeKind)


def test_numbers_are_misread_in_code_only(drawn):
    rng = random.Random(8)
    mistakes = [make_mistake(rng, plan_of(case)) for case, _ in drawn for _ in range(6)]
    assert MistakeKind.NUMBER not in {mistake.kind for mistake in mistakes}


def test_every_family_has_flaw_rates_and_every_flaw_is_frequent_somewhere():
    assert set(FLAW_RATES) == set(FAMILIES)
    for name in ("by_hand", "fragments", "recheck", "no_reflection", "modeling", "coding", "no_box"):
        assert max(getattr(rates, name) for rates in FLAW_RATES.values()) >= 0.4
        assert getattr(NO_FLAWS, name) == 0
