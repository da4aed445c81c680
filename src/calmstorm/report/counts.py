"""Counts what a run's trajectories show, in one pass: outcomes stay, texts do not.

Memory grows with the number of trajectories (a few hundred bytes each), never with their length. A trajectory that was
finished twice, which a resume never does but a hand-merged file may, counts once: the first one stands.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from calmstorm.evaluation import Summary, Tally
from calmstorm.records import Intervention, Trajectory, Verdict, VerdictStatus

CURATION = "curation"
"""Stage whose trajectories come from the hint loop; all other stages are evaluations of a model."""

UNGRADED = Verdict(correct=False, expected=None, got=None, tolerance=0.0, status=VerdictStatus.UNGRADED)
"""Stands for the verdict of a trajectory that was never graded."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is kept of a curation trajectory."""

    verdict: Verdict
    suite: str
    tokens: int
    """Tokens of the response."""

    @property
    def correct(self) -> bool:
        """Whether it was graded correct."""
        return self.verdict.correct


@dataclass(frozen=True)
class Attempt:
    """One sample of one curation problem, through all its rounds."""

    rounds: dict[int, Outcome]
    """By round; round 0 is there."""

    @property
    def first(self) -> Outcome:
        """Before any hint."""
        return self.rounds[0]

    @property
    def last(self) -> Outcome:
        """After the last hint."""
        return self.rounds[max(self.rounds)]

    def stopped_at(self, limit: int) -> Outcome:
        """What the attempt would have come to with at most `limit` hints."""
        return self.rounds[max(number for number in self.rounds if number <= limit)]


@dataclass(frozen=True)
class RunCounts:
    """What one pass over `trajectories.jsonl` leaves."""

    cells: dict[str, dict[str, Summary]]
    """Evaluation results by stage and suite, in the order of the method."""
    correct: dict[str, dict[str, int]]
    """Correct samples of each cell."""
    attempts: dict[tuple[str, int], Attempt]
    """By (problem id, sample), curation only; an attempt without round 0 is left out."""


def count(trajectories: Iterable[Trajectory]) -> RunCounts:
    """Reads all trajectories once and counts them."""
    tallies: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
    rounds: defaultdict[tuple[str, int], dict[int, Outcome]] = defaultdict(dict)
    seen: set[tuple[str, str, int, int]] = set()
    for trajectory in trajectories:
        if trajectory.key in seen:
            continue
        seen.add(trajectory.key)
        if trajectory.stage == CURATION:
            outcome = Outcome(trajectory.verdict or UNGRADED, trajectory.suite, trajectory.usage.completion_tokens)
            rounds[trajectory.problem_id, trajectory.sample][trajectory.round] = outcome
        else:
            tallies[trajectory.stage, trajectory.suite].add_trajectory(trajectory)
    cells: defaultdict[str, dict[str, Summary]] = defaultdict(dict)
    correct: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for stage, suite in sorted(tallies, key=lambda key: (stage_rank(key[0]), suite_rank(key[1]))):
        tally = tallies[stage, suite]
        cells[stage][suite] = tally.summary()
        correct[stage][suite] = sum(right for _, right in tally.counts())
    attempts = {key: Attempt(by_round) for key, by_round in sorted(rounds.items()) if 0 in by_round}
    return RunCounts(cells=dict(cells), correct=dict(correct), attempts=attempts)


def accuracy(outcomes: dict[tuple[str, int], Outcome]) -> Summary:
    """pass@1 of curation outcomes, by (problem id, sample)."""
    tally = Tally()
    for (problem_id, _), outcome in outcomes.items():
        tally.add(outcome.suite, problem_id, outcome.verdict, tokens=outcome.tokens)
    return tally.summary()


def trigger_counts(interventions: Iterable[Intervention]) -> dict[str, int]:
    """Interventions per trigger, all seven named, "1" to "7"."""
    counts = Counter(int(item.trigger) for item in interventions)
    return {str(number): counts[number] for number in range(1, 8)}


def stage_rank(stage: str) -> int:
    """Sort key: base, sft, rl, then everything else."""
    return {"base": 0, "sft": 1, "rl": 2}.get(stage, 3)


def suite_rank(suite: str) -> int:
    """Sort key: easy, complex, then everything else."""
    return {"easy": 0, "complex": 1}.get(suite, 2)
