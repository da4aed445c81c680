"""The golden filter: which curated trajectories are good enough to learn from.

Golden means correct and found flawless by the Intervener, in a response that was finished within the limits: the
paper's definition, rule `paper`. Rule `strict` also asks that the box is as the protocol wants it and that an optimal
solve, or where none was recorded what a script printed, backs the number (`Trajectory.is_backed`): a right number
without a right model behind it teaches the wrong thing, and a small model guesses more.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from calmstorm.curation.loop import edited_share
from calmstorm.curation.modification import token_modification
from calmstorm.records import GoldenTrajectory, Intervention, Problem, StopReason, Trajectory, VerdictStatus

GoldenRule = Literal["paper", "strict"]
"""As `curation.golden` of a recipe."""


class Rejection(StrEnum):
    """Why a trajectory is not golden; the first reason that applies."""

    INFRASTRUCTURE = "infrastructure"
    """Our machinery failed; says nothing about the answer."""
    UNGRADED = "ungraded"
    """There is no label to hold the answer against."""
    OPEN = "open"
    """Its curation has not come to its end: resume the run."""
    REVIEW = "review"
    """The Intervener failed; nobody knows whether there is a flaw."""
    WRONG = "wrong"
    FLAWED = "flawed"
    UNFINISHED = "unfinished"
    """It was cut off by a limit, and has no end to learn."""
    TOO_LONG = "too_long"
    PROTOCOL = "protocol"
    """Rule `strict`: the box holds more than the number."""
    UNBACKED = "unbacked"
    """Rule `strict`: no solve and no script stands behind the number."""


def rejection(
    trajectory: Trajectory,
    *,
    flawless: bool,
    most_tokens: int | None,
    rule: GoldenRule = "paper",
    review_failed: bool = False,
    is_open: bool = False,
) -> Rejection | None:
    """Returns why a trajectory is not golden, or None when it is.

    Args:
        trajectory: The last round of a sample.
        flawless: Whether the Intervener found nothing in it.
        most_tokens: Longest response allowed, tokens; None for no limit of its own.
        rule: How strict to be.
        review_failed: Whether the Intervener gave no usable review of it.
        is_open: Whether it has yet to be reviewed, or resumed from its last hint.
    """
    status = trajectory.verdict.status if trajectory.verdict is not None else VerdictStatus.UNGRADED
    if status is VerdictStatus.INFRASTRUCTURE or trajectory.stop_reason is StopReason.INFRASTRUCTURE:
        return Rejection.INFRASTRUCTURE
    if status is VerdictStatus.UNGRADED:
        return Rejection.UNGRADED
    if is_open:
        return Rejection.OPEN
    if review_failed:
        return Rejection.REVIEW
    if trajectory.verdict is None or not trajectory.verdict.correct:
        return Rejection.WRONG
    if not flawless:
        return Rejection.FLAWED
    if trajectory.stop_reason is not StopReason.FINISHED:
        return Rejection.UNFINISHED
    if most_tokens is not None and trajectory.usage.completion_tokens > most_tokens:
        return Rejection.TOO_LONG
    if rule == "paper":
        return None
    if not trajectory.verdict.protocol_ok:
        return Rejection.PROTOCOL
    return None if trajectory.is_backed else Rejection.UNBACKED


def golden_trajectory(
    problem: Problem, first: Trajectory, trajectory: Trajectory, interventions: Iterable[Intervention]
) -> GoldenTrajectory:
    """Returns the last round of a sample that is golden, with what it took to get there from its first."""
    return GoldenTrajectory(
        trajectory=trajectory,
        question=problem.question,
        interventions=tuple(interventions),
        edited_token_share=edited_share(trajectory.spans),
        token_modification=token_modification(first, trajectory),
    )
