"""Chooses a handful of trajectories worth reading.

The choice is deterministic: per trigger the shortest attempt that was wrong, got that one hint and came out golden;
then one golden trajectory without any hint, and one failure of the last model. It is made from what the counting pass
kept; only the chosen texts are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from calmstorm.records import Intervention, Problem, Trajectory, Trigger, VerdictStatus
from calmstorm.report.build import RunReport
from calmstorm.report.counts import CURATION, Place, stage_rank
from calmstorm.report.passages import Passage, annotate
from calmstorm.report.triggers import TRIGGER_NAMES

FAILURES = (VerdictStatus.WRONG, VerdictStatus.NO_ANSWER)
"""Verdicts that say that the model failed, not we or the label."""


@dataclass(frozen=True)
class Example:
    """One trajectory to read, with the problem it answers."""

    title: str
    problem: Problem | None
    trajectory: Trajectory
    passages: tuple[Passage, ...]
    first: Trajectory | None = None
    """The same attempt before any hint, where it got one."""
    golden: bool = False
    replaced_hints: int = 0
    """Hints that a later intervention cut away again; they are not shown."""


@dataclass(frozen=True)
class _Chosen:
    title: str
    rounds: dict[int, Place]


def choose_examples(report: RunReport) -> list[Example]:
    """Returns up to nine examples, in the order they should be read."""
    chosen = _one_per_trigger(report)
    chosen += [each for each in (_unaided(report), _failure(report)) if each is not None]
    return [_example(report, each) for each in chosen]


def _one_per_trigger(report: RunReport) -> list[_Chosen]:
    """Per trigger the attempt that shows it best: fixed by this one hint if possible, short, first by name."""
    curated = report.curated
    chosen: list[_Chosen] = []
    used: set[str] = set()
    candidates = defaultdict(list)
    for key, attempt in report.counts.attempts.items():
        hints = curated.hints.get(key, [])
        if hints and len(attempt.rounds) > 1:
            candidates[hints[0].trigger].append((key, attempt, len(hints) > 1))
    for trigger in Trigger:
        ranked = [
            ((key not in curated.golden, several, attempt.first.correct, key[0] in used), attempt.last.tokens, key)
            for key, attempt, several in candidates[trigger]
        ]
        if ranked:
            key = min(ranked)[2]
            used.add(key[0])
            title = f"Trigger {int(trigger)}: {TRIGGER_NAMES[trigger].lower()}"
            chosen.append(_Chosen(title, report.counts.attempts[key].rounds))
    return chosen


def _unaided(report: RunReport) -> _Chosen | None:
    candidates = [
        (attempt.last.tokens, key)
        for key, attempt in report.counts.attempts.items()
        if report.curated.golden.get(key) == 0
    ]
    return _Chosen("Golden without any hint", report.counts.attempts[min(candidates)[1]].rounds) if candidates else None


def _failure(report: RunReport) -> _Chosen | None:
    """A wrong answer of the most trained model, preferably one that ran code: those fail for a reason worth reading."""
    wrong = [each for each in report.counts.places if each.stage != CURATION and each.status in FAILURES]
    main = [each for each in wrong if each.stage in ("base", "sft", "rl")] or wrong
    if not main:
        return None
    place = min(main, key=lambda p: (-stage_rank(p.stage), not p.executions, p.tokens, p.problem_id, p.sample))
    name = place.stage.upper() if place.stage in ("sft", "rl") else place.stage
    return _Chosen(f"A failure of the {name} model", {place.round: place})


def _example(report: RunReport, chosen: _Chosen) -> Example:
    places = chosen.rounds
    rounds = {number: report.run.at("trajectories", Trajectory, place.offset) for number, place in places.items()}
    last = rounds[max(rounds)]
    key = (last.problem_id, last.sample)
    curation = last.stage == CURATION
    passages, replaced = annotate(rounds, interventions_of(report, key) if curation else [])
    problem = report.problems.get(last.problem_id)
    return Example(
        title=chosen.title,
        problem=report.run.at("problems", Problem, problem.offset) if problem else None,
        trajectory=last,
        passages=passages,
        first=rounds.get(0) if last.round > 0 else None,
        golden=curation and key in report.curated.golden,
        replaced_hints=replaced,
    )


def interventions_of(report: RunReport, key: tuple[str, int]) -> Sequence[Intervention]:
    """Reads the interventions of an attempt."""
    return [report.run.at("interventions", Intervention, hint.offset) for hint in report.curated.hints.get(key, [])]
