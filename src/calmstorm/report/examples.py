"""Chooses a handful of trajectories worth reading.

The choice is deterministic: per trigger the shortest attempt that was wrong, got that one hint and came out golden;
then one golden trajectory without any hint, and one failure of the last model. It is made from the index; only the
chosen texts are read.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from calmstorm.records import Problem, Trigger, VerdictStatus
from calmstorm.report.collect import METHOD_STAGES, STAGE_ORDER, RunReport
from calmstorm.report.index import AttemptKey, Place
from calmstorm.report.transcripts import Transcript, plain, read_attempt

FAILURES = (VerdictStatus.WRONG, VerdictStatus.NO_ANSWER)
"""Verdicts that say that the model failed, not we or the label."""


@dataclass(frozen=True)
class Example:
    """One trajectory to read, with the problem it answers."""

    transcript: Transcript
    problem: Problem | None


def choose_examples(report: RunReport) -> list[Example]:
    """Returns up to nine examples, in the order they should be read."""
    transcripts = [
        read_attempt(report, key, f"Trigger {trigger:d}: {trigger.label.lower()}")
        for trigger, key in _one_per_trigger(report).items()
    ]
    if (unaided := _unaided(report)) is not None:
        transcripts.append(read_attempt(report, unaided, "Golden without any hint"))
    if (failure := _failure(report)) is not None:
        trajectory = report.index.trajectory(failure)
        name = failure.stage.upper() if failure.stage in METHOD_STAGES[1:] else failure.stage
        transcripts.append(Transcript(f"A failure of the {name} model", trajectory, plain(trajectory)))
    return [Example(transcript, report.index.problem(transcript.trajectory.problem_id)) for transcript in transcripts]


def _one_per_trigger(report: RunReport) -> dict[Trigger, AttemptKey]:
    """Per trigger the attempt that shows it best: fixed by this one hint if possible, short, first by name."""
    index = report.index
    candidates = defaultdict(list)
    for key, rounds in index.attempts.items():
        if len(rounds) > 1 and (hints := index.hints.get(key)):
            candidates[hints[0].trigger].append(key)
    chosen: dict[Trigger, AttemptKey] = {}
    for trigger in Trigger:
        used = {key.problem_id for key in chosen.values()}
        ranked = [
            (
                key not in index.golden,
                len(index.hints[key]) > 1,
                index.attempts[key][0].correct,
                key.problem_id in used,
                index.attempts[key][max(index.attempts[key])].tokens,
                key,
            )
            for key in candidates[trigger]
        ]
        if ranked:
            chosen[trigger] = min(ranked)[-1]
    return chosen


def _unaided(report: RunReport) -> AttemptKey | None:
    index = report.index
    unaided = [key for key, rounds in index.attempts.items() if key in index.golden and not index.golden[key].hints]
    return min(unaided, key=lambda key: (index.golden[key].tokens, key), default=None)


def _failure(report: RunReport) -> Place | None:
    """A wrong answer of the most trained model, preferably one that ran code: those fail for a reason worth reading."""
    wrong = [place for place in report.index.places if place.stage.is_evaluated and place.status in FAILURES]
    wrong = [place for place in wrong if place.stage in METHOD_STAGES] or wrong

    def rank(place: Place) -> tuple[int, bool, int, str, int]:
        return -STAGE_ORDER.index(place.stage), not place.executions, place.tokens, place.problem_id, place.sample

    return min(wrong, key=rank, default=None)
