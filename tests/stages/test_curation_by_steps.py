"""The setting `intervener.review` reaches the rollouts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from calmstorm.intervener.rules import RulesIntervener
from calmstorm.reasoner.scripted import ByteCodec, ScriptedReasoner
from calmstorm.records import Review, Stage, StopReason
from calmstorm.runs import RunDirectory
from calmstorm.settings import load_recipe
from calmstorm.stages.curation import curate
from tests.curation.curated_case import BLOCK, PROBLEM, Runner


def by_hand(prefix, sampling) -> str:
    if prefix.text.endswith("```\n"):
        return "The value is plausible, as chairs earn more.\n\\boxed{400}"
    if "```python" in prefix.text:
        return BLOCK
    return "By hand: 20 chairs at 20 each, 20 * 20 = 400.\n```python\n" + BLOCK


@pytest.mark.parametrize(("review", "first"), [("whole", StopReason.FINISHED), ("steps", StopReason.REVIEWED)])
def test_where_steps_are_reviewed_the_first_attempt_ends_at_its_flaw(tmp_path: Path, review, first):
    recipe = load_recipe(None, {"intervener.review": review, "curation.samples": "1"})
    reasoner = ScriptedReasoner(by_hand, codec=ByteCodec())
    with RunDirectory(tmp_path / "run") as run:
        asyncio.run(curate(run, recipe, [PROBLEM], reasoner, Runner(), RulesIntervener()))
        made = list(run.trajectories(Stage.CURATION))
        outcomes = [str(one.outcome) for one in run.read("reviews", Review)]
    assert made[0].stop_reason is first
    assert made[-1].verdict is not None
    assert made[-1].verdict.correct
    assert outcomes == ["flawed", "flawless"]
