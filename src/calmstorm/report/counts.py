"""Counts what a run's trajectories show, in one pass: outcomes and places stay, texts do not.

Memory grows with the number of trajectories (a few hundred bytes each), never with their length; whoever needs a text
reads it again at its place. A trajectory that was finished twice, which a resume never does but a hand-merged file may,
counts once: the first one stands.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from calmstorm.evaluation import Summary, Tally
from calmstorm.records import Trajectory, Verdict, VerdictStatus
from calmstorm.runs import RunDirectory

CURATION = "curation"
"""Stage whose trajectories come from the hint loop; all other stages are evaluations of a model."""

UNGRADED = Verdict(correct=False, expected=None, got=None, tolerance=0.0, status=VerdictStatus.UNGRADED)
"""Stands for the verdict of a trajectory that was never graded."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is kept of a trajectory, and where it stands."""

    stage: str
    suite: str
    problem_id: str
    sample: int
    round: int
    status: VerdictStatus
    tokens: int
    """Tokens of the response."""
    executions: int
    offset: int
    """Of its line in `trajectories.jsonl`, bytes."""

    @property
    def correct(self) -> bool:
        """Whether it was graded correct."""
        return self.status is VerdictStatus.CORRECT


@dataclass(frozen=True)
class Attempt:
    """One sample of one curation problem, through all its rounds."""

    rounds: dict[int, Place]
    """By round; round 0 is there."""

    @property
    def first(self) -> Place:
        """Before any hint."""
        return self.rounds[0]

    @property
    def last(self) -> Place:
        """After the last hint."""
        return self.rounds[max(self.rounds)]

    def stopped_at(self, limit: int) -> Place:
        """What the attempt would have come to with at most `limit` hints."""
        return self.rounds[max(number for number in self.rounds if number <= limit)]


Outcomes = dict[str, tuple[int, int]]
"""(graded samples, correct samples) by problem id."""


@dataclass(frozen=True)
class RunCounts:
    """What one pass over `trajectories.jsonl` leaves."""

    cells: dict[str, dict[str, Summary]]
    """Evaluation results by stage and suite, in the order of the method."""
    outcomes: dict[str, dict[str, Outcomes]]
    """By stage and suite, for comparisons problem by problem."""
    tolerances: frozenset[float]
    """Relative tolerances that evaluated responses were graded with."""
    attempts: dict[tuple[str, int], Attempt]
    """By (problem id, sample), curation only; an attempt without round 0 is left out."""
    places: list[Place]
    """Every trajectory, in the order they ended."""


def count_run(run: RunDirectory) -> RunCounts:
    """Reads all trajectories of a run once and counts them."""
    return _counted(run.placed("trajectories", Trajectory))


def count(trajectories: Iterable[Trajectory]) -> RunCounts:
    """Counts trajectories that stand nowhere: their places have the offset 0."""
    return _counted((0, each) for each in trajectories)


def _counted(placed: Iterable[tuple[int, Trajectory]]) -> RunCounts:
    tallies: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
    rounds: defaultdict[tuple[str, int], dict[int, Place]] = defaultdict(dict)
    places: list[Place] = []
    tolerances: set[float] = set()
    seen: set[tuple[str, str, int, int]] = set()
    for offset, trajectory in placed:
        if trajectory.key in seen:
            continue
        place = _place(trajectory, offset)
        seen.add((place.stage, place.problem_id, place.sample, place.round))
        places.append(place)
        if place.stage == CURATION:
            rounds[place.problem_id, place.sample][place.round] = place
        else:
            tallies[place.stage, place.suite].add_trajectory(trajectory)
            if trajectory.verdict is not None and place.status is not VerdictStatus.INFRASTRUCTURE:
                tolerances.add(trajectory.verdict.tolerance)
    cells: defaultdict[str, dict[str, Summary]] = defaultdict(dict)
    outcomes: defaultdict[str, dict[str, Outcomes]] = defaultdict(dict)
    for stage, suite in sorted(tallies, key=lambda key: (stage_rank(key[0]), suite_rank(key[1]))):
        tally = tallies[stage, suite]
        cells[stage][suite] = tally.summary()
        outcomes[stage][suite] = {problem_id: counts for (_, problem_id), counts in tally.outcomes().items()}
    return RunCounts(
        cells=dict(cells),
        outcomes=dict(outcomes),
        tolerances=frozenset(tolerances),
        attempts={key: Attempt(by_round) for key, by_round in sorted(rounds.items()) if 0 in by_round},
        places=places,
    )


def _place(trajectory: Trajectory, offset: int) -> Place:
    return Place(
        stage=trajectory.stage,
        suite=sys.intern(trajectory.suite),
        problem_id=sys.intern(trajectory.problem_id),
        sample=trajectory.sample,
        round=trajectory.round,
        status=(trajectory.verdict or UNGRADED).status,
        tokens=trajectory.usage.completion_tokens,
        executions=len(trajectory.executions),
        offset=offset,
    )


def accuracy(places: Iterable[Place]) -> Summary:
    """pass@1 of curation outcomes."""
    tally = Tally()
    for place in places:
        verdict = UNGRADED.model_copy(update={"status": place.status, "correct": place.correct})
        tally.add(place.suite, place.problem_id, verdict, tokens=place.tokens)
    return tally.summary()


STAGES = ("base", "sft", "rl", "pilot", "control_sft", "control_rl")
"""Evaluated stages in the order of the method: the main arm, then those of the experiments."""
SUITES = ("easy", "complex", "nl4opt", "mamo-easy", "mamo-complex", "industryor", "optmath")
"""Suites from easy to hard, as the paper's tables have them."""


def stage_rank(stage: str) -> int:
    """Sort key: the order of `STAGES`, then everything else."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


def suite_rank(suite: str) -> int:
    """Sort key: the order of `SUITES`, then everything else."""
    return SUITES.index(suite) if suite in SUITES else len(SUITES)
