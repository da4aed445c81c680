from __future__ import annotations

import asyncio

import pytest

from calmstorm.errors import InfrastructureError
from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.records import Intervention, ReviewOutcome, Trigger
from tests.intervener.workshop_case import WORKSHOP, trajectory_of

CANNED = Intervention(
    problem_id="any",
    sample=9,
    round=9,
    trigger=Trigger.REDUNDANT_VERIFICATION,
    analysis="",
    target="by hand",
    position=0,
    hint="I trust it.\n",
)


def test_canned_reviews_are_given_in_order_and_fitted_to_the_trajectory():
    double = ScriptedIntervener([CANNED, None])
    done = trajectory_of(WORKSHOP, "I do it by hand.", round=2)
    review = asyncio.run(double.review(WORKSHOP, done)).intervention
    assert review is not None
    assert (review.problem_id, review.sample, review.round, review.position) == ("w", 0, 2, 8)
    assert review.intervener == "scripted"
    assert asyncio.run(double.review(WORKSHOP, done)).outcome is ReviewOutcome.FLAWLESS
    assert double.asked == [("w", 0, 2), ("w", 0, 2)]


def test_a_used_up_script_is_trouble_of_ours():
    with pytest.raises(InfrastructureError, match="used up"):
        asyncio.run(ScriptedIntervener([]).review(WORKSHOP, trajectory_of(WORKSHOP, "x")))


def test_a_function_sees_problem_and_trajectory():
    double = ScriptedIntervener(lambda problem, done: CANNED if done.round == 0 else None, name="mine")
    assert asyncio.run(double.review(WORKSHOP, trajectory_of(WORKSHOP, "x"))).intervention is CANNED
    assert asyncio.run(double.review(WORKSHOP, trajectory_of(WORKSHOP, "x", round=1))).intervention is None
    assert double.name == "mine"
