"""The golden filter: which curated trajectories are good enough to learn from.

Golden means: correct, found flawless by the Intervener, finished within the limits, answered as the protocol asks,
and with a boxed number that an optimal solve in the trajectory backs up (where the interpreter could see the solve).
A right number without a right model behind it teaches the wrong thing.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from calmstorm.curation.loop import edited_share
from calmstorm.records import GoldenTrajectory, Intervention, Problem, StopReason, Trajectory, VerdictStatus


class Rejection(StrEnum):
    """Why a trajectory is not golden; the first reason that applies."""

    INFRASTRUCTURE = "infrastructure"
    """Our machinery failed; says nothing about the answer."""
    UNGRADED = "ungraded"
    """There is no label to hold the answer against."""
    WRONG = "wrong"
    FLAWED = "flawed"
    UNFINISHED = "unfinished"
    PROTOCOL = "protocol"
    TOO_LONG = "too_long"
    UNBACKED = "unbacked"


def rejection(trajectory: Trajectory, *, flawless: bool, most_tokens: int | None) -> Rejection | None:
    """Returns why a trajectory is not golden, or None when it is.

    Args:
        trajectory: The last round of a sample.
        flawless: Whether the Intervener found nothing in it.
        most_tokens: Longest response allowed, tokens; None for no limit of its own.
    """
    status = trajectory.verdict.status if trajectory.verdict is not None else VerdictStatus.UNGRADED
    if status is VerdictStatus.INFRASTRUCTURE or trajectory.stop_reason is StopReason.INFRASTRUCTURE:
        return Rejection.INFRASTRUCTURE
    if status is VerdictStatus.UNGRADED:
        return Rejection.UNGRADED
    if trajectory.verdict is None or not trajectory.verdict.correct:
        return Rejection.WRONG
    if not flawless:
        return Rejection.FLAWED
    if trajectory.stop_reason is not StopReason.FINISHED:
        return Rejection.UNFINISHED
    if not trajectory.verdict.protocol_ok:
        return Rejection.PROTOCOL
    if most_tokens is not None and trajectory.usage.completion_tokens > most_tokens:
        return Rejection.TOO_LONG
    return None if trajectory.is_backed else Rejection.UNBACKED


def golden_trajectory(
    problem: Problem, trajectory: Trajectory, interventions: Iterable[Intervention]
) -> GoldenTrajectory:
    """Returns the last round of a sample that is golden, with what it took to get there."""
    return GoldenTrajectory(
        trajectory=trajectory,
        question=problem.question,
        interventions=tuple(interventions),
        edited_token_share=edited_share(trajectory.spans),
    )
