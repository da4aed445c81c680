from __future__ import annotations

import numpy as np
import pytest

from calmstorm.evaluation import FlawSummary, FlawTally, macro_flaws

EVALUATIONS = 2000


def summary(*responses: tuple[str, list[int]]) -> FlawSummary:
    tally = FlawTally()
    for problem, triggers in responses:
        tally.add(problem, triggers)
    found = tally.summary()
    assert found is not None
    return found


def test_rates_are_means_over_problems_of_the_share_of_their_responses() -> None:
    found = summary(("a", [1, 5]), ("a", [1]), ("a", []), ("a", []), ("b", [7]))
    assert (found.responses, found.problems) == (5, 2)
    assert found.triggers[1].mean == pytest.approx((0.5 + 0) / 2)
    assert found.triggers[7].mean == pytest.approx((0 + 1) / 2)
    assert found.triggers[2].mean == 0
    assert found.flawless.mean == pytest.approx((0.5 + 0) / 2)
    assert all(rate.ci95[0] <= rate.mean <= rate.ci95[1] for rate in found.triggers.values())


def test_loads_count_the_flaws_of_a_category_and_leave_protocol_out() -> None:
    found = summary(("a", [1, 3]), ("b", [4, 7]), ("c", []))
    assert found.loads["code"].mean == pytest.approx(2 / 3)
    assert found.loads["expertise"].mean == pytest.approx(1 / 3)
    assert found.loads["code"].ci95[1] <= 2


def test_a_trigger_named_twice_counts_once() -> None:
    assert summary(("a", [2, 2])) == summary(("a", [2]))


def test_of_more_triggers_than_an_annotator_may_name_the_first_count() -> None:
    assert summary(("a", [7, 5, 1])) == summary(("a", [7, 5]))


def test_nothing_annotated_has_no_rate() -> None:
    assert FlawTally().summary() is None


def test_macro_average_weighs_suites_alike() -> None:
    many = summary(*((f"p{n}", [1]) for n in range(30)))
    few = summary(("a", []), ("b", [5]))
    both = macro_flaws({"many": many, "few": few})
    assert both.triggers[1].mean == pytest.approx(0.5)
    assert both.loads["expertise"].mean == pytest.approx(0.25)
    assert both.flawless.mean == pytest.approx(0.25)
    assert both.responses == 32


@pytest.mark.parametrize(
    ("problems", "samples", "flaws", "likeness"),
    [(100, 8, 0.8, 0.4), (100, 1, 0.8, 0.4), (60, 2, 1.2, 0.5), (100, 2, 0.2, 0.2)],
)
def test_intervals_of_loads_cover_the_truth_as_often_as_they_say(
    problems: int, samples: int, flaws: float, likeness: float
) -> None:
    """Each response has up to two flaws of the category, from a chance of its problem."""
    rng = np.random.default_rng(20251120)
    scale = (1 - likeness) / likeness
    chances = rng.beta(flaws / 2 * scale, (1 - flaws / 2) * scale, (EVALUATIONS, problems))
    drawn = rng.binomial(2, chances[..., None], (EVALUATIONS, problems, samples))
    kinds = {0: [], 1: [4], 2: [4, 5]}
    covered = 0
    for evaluation in drawn:
        tally = FlawTally()
        for problem, responses in enumerate(evaluation):
            for count in responses:
                tally.add(problem, kinds[int(count)])
        found = tally.summary()
        assert found is not None
        low, high = found.loads["expertise"].ci95
        covered += low <= flaws <= high
    assert 0.93 <= covered / EVALUATIONS <= 0.97
