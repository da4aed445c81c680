"""What curation came to: the numbers of paper figure 5, and where the hints stand."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from calmstorm.records import GoldenTrajectory, Intervention, Trigger
from calmstorm.report.counts import Attempt, RunCounts, accuracy
from calmstorm.runs import RunDirectory

AttemptKey = tuple[str, int]
"""(problem id, sample)."""


@dataclass(frozen=True, slots=True)
class HintPlace:
    """What is kept of an intervention."""

    trigger: Trigger
    offset: int
    """Of its line in `interventions.jsonl`, bytes."""


@dataclass(frozen=True)
class RunCuration:
    """The interventions and the golden set of a run, without their texts."""

    hints: dict[AttemptKey, list[HintPlace]]
    golden: dict[AttemptKey, int]
    """Number of interventions behind each golden trajectory."""
    golden_tokens: int
    edited_tokens: float
    """Tokens of hints that survive in golden trajectories."""


def read_curation(run: RunDirectory) -> RunCuration:
    """Reads interventions and golden set once."""
    hints: defaultdict[AttemptKey, list[HintPlace]] = defaultdict(list)
    for offset, item in run.placed("interventions", Intervention):
        hints[sys.intern(item.problem_id), item.sample].append(HintPlace(item.trigger, offset))
    golden: dict[AttemptKey, int] = {}
    golden_tokens, edited_tokens = 0, 0.0
    for each in run.read("golden", GoldenTrajectory):
        tokens = each.trajectory.usage.completion_tokens
        golden[sys.intern(each.trajectory.problem_id), each.trajectory.sample] = len(each.interventions)
        golden_tokens += tokens
        edited_tokens += each.edited_token_share * tokens
    return RunCuration(dict(hints), golden, golden_tokens, edited_tokens)


def curation_numbers(curated: RunCuration, counted: RunCounts) -> dict[str, Any]:
    """The funnel of paper figure 5: correct before and after the hints, golden, and what the hints changed."""
    attempts = counted.attempts
    triggers = Counter(int(hint.trigger) for hints in curated.hints.values() for hint in hints)
    first = [attempt.first for attempt in attempts.values()]
    last = [attempt.last for attempt in attempts.values()]
    before, after = accuracy(first), accuracy(last)
    return {
        "problems": len({problem_id for problem_id, _ in attempts}),
        "correct_before": before.pass_at_1,
        "correct_after": after.pass_at_1,
        "golden": len(curated.golden),
        "hints_per_problem": _ratio(triggers.total(), len(attempts)),
        "edited_token_share": _ratio(curated.edited_tokens, curated.golden_tokens),
        "tokens_before": before.response_tokens if attempts else None,
        "tokens_after": after.response_tokens if attempts else None,
        "correct_before_ci95": _listed(before.ci95),
        "correct_after_ci95": _listed(after.ci95),
        "attempts": len(attempts),
        "correct_before_count": sum(place.correct for place in first),
        "correct_after_count": sum(place.correct for place in last),
        "golden_without_hints": sum(not hints for hints in curated.golden.values()),
        "interventions": triggers.total(),
        "triggers": {str(number): triggers[number] for number in range(1, 8)},
        "rounds": _by_round(list(attempts.values())),
    }


def _by_round(attempts: list[Attempt]) -> list[dict[str, Any]]:
    """Attempts that reached each round, and how many are correct if every attempt stops at that round."""
    deepest = max((max(attempt.rounds) for attempt in attempts), default=-1)
    return [
        {
            "round": number,
            "attempts": sum(number in attempt.rounds for attempt in attempts),
            "correct": sum(attempt.stopped_at(number).correct for attempt in attempts),
        }
        for number in range(deepest + 1)
    ]


def _listed(bounds: tuple[float, float] | None) -> list[float] | None:
    return None if bounds is None else list(bounds)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
