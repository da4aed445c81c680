"""Counts what a run's trajectories show, in one pass: outcomes and sizes stay, their text does not.

Memory grows with the number of trajectories (about a kilobyte each), never with their length. A trajectory that was
finished twice, which a resume never does but a hand-merged file may, counts once: the first one stands.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from calmstorm.records import Author, Intervention, SpanKind, StopReason, Trajectory, Verdict, VerdictStatus

CURATION = "curation"
"""Stage whose trajectories come from the hint loop; all other stages are evaluations of a model."""


@dataclass
class Cell:
    """All samples of one stage on one suite."""

    outcomes: list[Trajectory] = field(default_factory=list)
    """The trajectories without their spans and executions."""
    code_blocks: int = 0
    """Scripts the Reasoner wrote, over all samples."""
    response_tokens: int = 0
    sized: int = 0
    """Samples that entered the two sums: all but those our own machinery failed."""

    def add(self, trajectory: Trajectory) -> None:
        """Counts one sample."""
        self.outcomes.append(without_text(trajectory))
        if trajectory.stop_reason is not StopReason.INFRASTRUCTURE:
            self.code_blocks += code_blocks(trajectory)
            self.response_tokens += trajectory.usage.completion_tokens
            self.sized += 1


@dataclass
class Attempt:
    """One sample of one curation problem, through all its rounds."""

    first: Trajectory
    last: Trajectory
    by_round: dict[int, Trajectory]


@dataclass
class Tally:
    """What one pass over `trajectories.jsonl` leaves."""

    cells: dict[tuple[str, str], Cell]
    """By (stage, suite), evaluation stages only."""
    attempts: dict[tuple[str, int], Attempt]
    """By (problem id, sample), curation only; an attempt without round 0 is left out."""

    @property
    def stages(self) -> list[str]:
        """The evaluation stages, in the order of the method, others after them in order of appearance."""
        seen = list(dict.fromkeys(stage for stage, _ in self.cells))
        return sorted(seen, key=stage_rank)

    @property
    def curation_suites(self) -> dict[str, int]:
        """Attempts per suite."""
        return dict(Counter(attempt.first.suite for attempt in self.attempts.values()))


def stage_rank(stage: str) -> int:
    """Sort key: base, sft, rl, then everything else."""
    return {"base": 0, "sft": 1, "rl": 2}.get(stage, 3)


def suite_rank(suite: str) -> int:
    """Sort key: easy, complex, then everything else."""
    return {"easy": 0, "complex": 1}.get(suite, 2)


def tally(trajectories: Iterable[Trajectory]) -> Tally:
    """Reads all trajectories once and counts them."""
    cells: defaultdict[tuple[str, str], Cell] = defaultdict(Cell)
    rounds: defaultdict[tuple[str, int], dict[int, Trajectory]] = defaultdict(dict)
    seen: set[tuple[str, str, int, int]] = set()
    for trajectory in trajectories:
        if trajectory.key in seen:
            continue
        seen.add(trajectory.key)
        if trajectory.stage == CURATION:
            rounds[trajectory.problem_id, trajectory.sample][trajectory.round] = without_text(trajectory)
        else:
            cells[trajectory.stage, trajectory.suite].add(trajectory)
    attempts = {
        key: Attempt(first=by_round[0], last=by_round[max(by_round)], by_round=by_round)
        for key, by_round in sorted(rounds.items())
        if 0 in by_round
    }
    ordered = sorted(cells.items(), key=lambda item: (stage_rank(item[0][0]), suite_rank(item[0][1])))
    return Tally(cells=dict(ordered), attempts=attempts)


def without_text(trajectory: Trajectory) -> Trajectory:
    """The same trajectory with nothing in it that grows with the response."""
    return trajectory.model_copy(update={"spans": (), "executions": ()})


def code_blocks(trajectory: Trajectory) -> int:
    """Scripts the Reasoner itself wrote."""
    return sum(span.kind is SpanKind.CODE and span.author is Author.REASONER for span in trajectory.spans)


def graded(verdict: Verdict | None) -> bool:
    """Whether a verdict says anything about the model."""
    return verdict is not None and verdict.status not in (VerdictStatus.UNGRADED, VerdictStatus.INFRASTRUCTURE)


def is_correct(trajectory: Trajectory) -> bool:
    """Whether the trajectory was graded correct."""
    return trajectory.verdict is not None and trajectory.verdict.correct


def trigger_counts(interventions: Iterable[Intervention]) -> dict[str, int]:
    """Interventions per trigger, all seven named, "1" to "7"."""
    counts = Counter(int(item.trigger) for item in interventions)
    return {str(number): counts[number] for number in range(1, 8)}
