from __future__ import annotations

import asyncio

from calmstorm.intervener.combined import CombinedIntervener
from calmstorm.intervener.protocol import Reviewed
from calmstorm.intervener.rules import RulesIntervener
from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.records import Problem, ReviewOutcome, Trajectory
from tests.intervener.workshop_case import WORKSHOP, trajectory_of

GOOD = Reviewed.of(None)


class SureOfShortOnes:
    """Finds responses flawless that have one word, and abstains from all others."""

    name = "rules"

    def sure_review(self, problem: Problem, trajectory: Trajectory) -> Reviewed | None:
        return GOOD if len(trajectory.response.split()) == 1 else None


def test_the_model_is_asked_only_where_the_rules_abstain():
    model = ScriptedIntervener([None], name="llm:m@intervener-2")
    both = CombinedIntervener(SureOfShortOnes(), model)
    assert both.name == "rules+llm:m@intervener-2"
    assert asyncio.run(both.review(WORKSHOP, trajectory_of(WORKSHOP, "short"))) is GOOD
    assert model.asked == []
    assert asyncio.run(both.review(WORKSHOP, trajectory_of(WORKSHOP, "two words"))).outcome is ReviewOutcome.FLAWLESS
    assert len(model.asked) == 1


def test_the_rule_engine_is_one_half():
    model = ScriptedIntervener([])
    empty = trajectory_of(WORKSHOP, "I model it.\nI try plans by hand.\n\\boxed{12 dollars and 5 cents}")
    made = asyncio.run(CombinedIntervener(RulesIntervener(), ScriptedIntervener([None])).review(WORKSHOP, empty))
    assert made.outcome in (ReviewOutcome.FLAWED, ReviewOutcome.FLAWLESS)
    nothing = asyncio.run(CombinedIntervener(RulesIntervener(), model).review(WORKSHOP, trajectory_of(WORKSHOP, "")))
    assert nothing.outcome is ReviewOutcome.FLAWED
    assert model.asked == []


def test_closing_it_closes_the_model():
    closed = []

    class Closing(ScriptedIntervener):
        async def close(self) -> None:
            closed.append(self.name)

    asyncio.run(CombinedIntervener(SureOfShortOnes(), Closing([], name="model")).close())
    assert closed == ["model"]
