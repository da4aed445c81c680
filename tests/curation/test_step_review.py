"""Curation step by step: a rollout stops at its first flaw, and the hint resumes it there."""

from __future__ import annotations

import asyncio

import pytest

from calmstorm.curation.loop import HintLoop, SampleProgress, Sink
from calmstorm.intervener.protocol import Intervener, Reviewed
from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.intervener.steps import IntervenerSteps
from calmstorm.reasoner.protocol import Prefix, Sampling
from calmstorm.reasoner.scripted import ByteCodec, ScriptedReasoner
from calmstorm.records import (
    Author,
    Intervention,
    Problem,
    Review,
    ReviewOutcome,
    StopReason,
    Trajectory,
    Trigger,
    Usage,
    VerdictStatus,
)
from calmstorm.rollout import RolloutLimits, rollout
from tests.curation.curated_case import BLOCK, GOOD, PROBLEM, Runner

TAIL = "And so on, at great length.\n" * 20


def careless(prefix: Prefix, sampling: Sampling) -> str:
    """Writes a bad script and goes on at length; after a hint, a good one."""
    if prefix.text.endswith("```\n"):
        return GOOD if "HINT" in prefix.text else TAIL + "\\boxed{300}"
    return "Good model.\n```python\n" + BLOCK if "HINT" in prefix.text else "Bad model.\n```python\n" + BLOCK


def strict(problem: Problem, trajectory: Trajectory) -> Intervention | None:
    position = trajectory.response.find("Bad model")
    if position < 0:
        return None
    return Intervention(
        problem_id=problem.id,
        sample=trajectory.sample,
        round=trajectory.round,
        trigger=Trigger.FLAWED_MODELING,
        analysis="Bad.",
        target=trajectory.response[position:],
        position=position,
        hint="HINT: read again.\n",
    )


class Stored:
    def __init__(self) -> None:
        self.trajectories: list[Trajectory] = []
        self.interventions: list[Intervention] = []
        self.reviews: list[Review] = []


def curate(
    intervener: Intervener, *, by_step: bool = True, most: int = 5, stored: Stored | None = None
) -> tuple[SampleProgress, Stored]:
    stored = stored or Stored()
    latest = stored.trajectories[-1] if stored.trajectories else None
    progress = SampleProgress(len(stored.trajectories), latest, list(stored.interventions), list(stored.reviews))
    loop = HintLoop(
        ScriptedReasoner(careless, codec=ByteCodec()),
        Runner(),
        intervener,
        limits=RolloutLimits(response_tokens=4000),
        sampling=Sampling(),
        sink=Sink(stored.trajectories.append, stored.interventions.append, stored.reviews.append),
        seed=1,
        most_interventions=most,
        steps=IntervenerSteps(intervener) if by_step else None,
    )
    return asyncio.run(loop.run(PROBLEM, 0, progress)), stored


def test_a_rollout_stops_at_its_first_flaw_and_goes_on_from_the_hint():
    intervener = ScriptedIntervener(strict)
    done, stored = curate(intervener)
    assert done.flawless
    first, second = stored.trajectories
    assert first.stop_reason is StopReason.REVIEWED
    assert first.verdict is not None
    assert first.verdict.status is VerdictStatus.NO_ANSWER
    assert first.spans[-1].author is Author.INTERPRETER
    assert second.stop_reason is StopReason.FINISHED
    assert second.verdict is not None
    assert second.verdict.correct
    assert [review.outcome for review in stored.reviews] == [ReviewOutcome.FLAWED, ReviewOutcome.FLAWLESS]
    assert intervener.asked == [("p", 0, 0), ("p", 0, 1), ("p", 0, 1)]


def test_both_ways_end_in_the_same_golden_response_and_steps_write_less():
    _, steps = curate(ScriptedIntervener(strict))
    _, whole = curate(ScriptedIntervener(strict), by_step=False)
    assert steps.trajectories[-1].response == whole.trajectories[-1].response
    assert steps.interventions[0].position == whole.interventions[0].position
    assert TAIL in whole.trajectories[0].response
    saved = whole.trajectories[0].usage.completion_tokens - steps.trajectories[0].usage.completion_tokens
    assert saved == len(TAIL + "\\boxed{300}") + 1  # and the end of the turn


def test_without_hints_left_a_flaw_still_stops_the_rollout():
    done, stored = curate(ScriptedIntervener(strict), most=0)
    assert not done.flawless
    assert [t.stop_reason for t in stored.trajectories] == [StopReason.REVIEWED]
    assert not stored.interventions
    assert [review.outcome for review in stored.reviews] == [ReviewOutcome.FLAWED]


def test_a_round_that_was_stored_without_its_review_is_reviewed_on_resume():
    _, whole = curate(ScriptedIntervener(strict))
    cut = Stored()
    cut.trajectories = whole.trajectories[:1]
    done, stored = curate(ScriptedIntervener(strict), stored=cut)
    assert done.flawless
    assert stored.interventions == whole.interventions
    assert [review.outcome for review in stored.reviews] == [review.outcome for review in whole.reviews]
    assert [t.response for t in stored.trajectories] == [t.response for t in whole.trajectories]


class Costly:
    """Asks for money each time; its reviews of steps fail."""

    name = "costly"

    async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
        usage = Usage(prompt_tokens=7, completion_tokens=2, cost=0.5)
        if trajectory.stop_reason is StopReason.REVIEWED:
            return Reviewed(outcome=ReviewOutcome.FAILED, reason="gibberish", usage=usage)
        return Reviewed.of(None, usage)

    async def close(self) -> None: ...


def test_a_failed_review_lets_a_step_pass_and_every_request_is_counted():
    done, stored = curate(Costly())
    assert done.flawless
    assert len(stored.trajectories) == 1
    assert stored.reviews[0].usage == Usage(prompt_tokens=14, completion_tokens=4, cost=1.0)


@pytest.mark.parametrize("stop_after", [1, 2, 9])
def test_the_hook_of_a_rollout_sees_each_output_and_may_stop_it(stop_after):
    seen: list[tuple[int, int]] = []

    async def after_output(spans, executions) -> bool:
        seen.append((len(spans), len(executions)))
        return len(seen) == stop_after

    texts = ["```python\n" + BLOCK, "```python\n" + BLOCK, GOOD]
    reasoner = ScriptedReasoner(texts)
    done = asyncio.run(
        rollout(
            reasoner,
            Runner(),
            reasoner.render("How much?"),
            limits=RolloutLimits(),
            sampling=Sampling(),
            after_output=after_output,
        )
    )
    assert seen == [(2, 1), (4, 2)][:stop_after]
    assert done.stop_reason is (StopReason.FINISHED if stop_after > 2 else StopReason.REVIEWED)
    assert len(done.executions) == min(stop_after, 2)
