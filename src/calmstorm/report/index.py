"""An index of a run: what came of each trajectory and where its line stands; texts stay on disk.

Memory grows with the number of trajectories (a few hundred bytes each), never with their length; whoever needs a text
reads it again at its place. The same problem has other ids in other runs (`nl4opt-1` where several benchmarks were
evaluated, `1` where one was), so problems of several runs are matched by text and label.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from calmstorm.records import (
    GoldenTrajectory,
    Intervention,
    Problem,
    Stage,
    Trajectory,
    TrajectoryKey,
    Trigger,
)
from calmstorm.runs import Place, RunDirectory

EXCERPT = 140
"""Characters of a problem text that a list shows."""


class AttemptKey(NamedTuple):
    """What tells an attempt of the curation from the others of a run."""

    problem_id: str
    sample: int


class ProblemKey(NamedTuple):
    """What tells a problem from all others, in this run or another."""

    suite: str
    digest: str
    """Of text, label and tolerance."""
    copy: int
    """A text that a suite has twice is two problems."""


Outcomes = dict[str, dict[ProblemKey, tuple[int, int]]]
"""(graded samples, correct samples) by suite and problem."""


class ProblemPlace(NamedTuple):
    """What is kept of a problem; the defaults are those of one that the run does not hold."""

    offset: int = -1
    """Of its line in `problems.jsonl`, bytes."""
    label: float | str | None = None
    label_version: str = ""
    digest: str = ""
    excerpt: str = ""
    """How the text begins."""


class HintPlace(NamedTuple):
    """What is kept of an intervention."""

    trigger: Trigger
    offset: int
    """Of its line in `interventions.jsonl`, bytes."""


class GoldenPlace(NamedTuple):
    """What is kept of a golden trajectory."""

    hints: int
    """Interventions behind it."""
    tokens: int
    edited_tokens: float
    """Tokens of the hints that survive in it."""
    modification: float | None
    """Edit distance from the first attempt, relative; None where it was not taken."""


@dataclass(frozen=True, eq=False)
class RunIndex:
    """Where everything stands in a run."""

    run: RunDirectory
    places: list[Place]
    """Every trajectory, in the order they ended."""
    flaws: dict[TrajectoryKey, tuple[Trigger, ...]]
    """Triggers of each response that was searched for flaws."""

    @cached_property
    def problems(self) -> dict[str, ProblemPlace]:
        """By id; of several problems with one id the first stands."""
        places: dict[str, ProblemPlace] = {}
        for offset, problem in self.run.placed("problems", Problem):
            if problem.id not in places:
                text = "\n".join((problem.question, repr(problem.label), repr(problem.tolerance)))
                excerpt = " ".join(problem.question[: 4 * EXCERPT].split())
                places[sys.intern(problem.id)] = ProblemPlace(
                    offset=offset,
                    label=problem.label,
                    label_version=sys.intern(problem.label_version),
                    digest=hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest(),
                    excerpt=excerpt if len(excerpt) <= EXCERPT else excerpt[: EXCERPT - 1].rstrip() + "…",
                )
        return places

    @cached_property
    def hints(self) -> dict[AttemptKey, list[HintPlace]]:
        """Interventions of each attempt."""
        hints: dict[AttemptKey, list[HintPlace]] = {}
        for offset, intervention in self.run.placed("interventions", Intervention):
            key = AttemptKey(sys.intern(intervention.problem_id), intervention.sample)
            hints.setdefault(key, []).append(HintPlace(intervention.trigger, offset))
        return hints

    @cached_property
    def golden(self) -> dict[AttemptKey, GoldenPlace]:
        """The golden set."""
        places = {}
        for golden in self.run.read("golden", GoldenTrajectory):
            tokens = golden.trajectory.usage.completion_tokens
            key = AttemptKey(sys.intern(golden.trajectory.problem_id), golden.trajectory.sample)
            places[key] = GoldenPlace(
                len(golden.interventions), tokens, golden.edited_token_share * tokens, golden.token_modification
            )
        return places

    @cached_property
    def attempts(self) -> dict[AttemptKey, dict[int, Place]]:
        """The rounds of each attempt of the curation, in order; an attempt without round 0 is left out."""
        attempts: defaultdict[AttemptKey, dict[int, Place]] = defaultdict(dict)
        for place in sorted(self.places, key=lambda place: place.round):
            if place.stage is Stage.CURATION:
                attempts[AttemptKey(place.problem_id, place.sample)][place.round] = place
        return {key: attempts[key] for key in sorted(attempts) if 0 in attempts[key]}

    @cached_property
    def keys(self) -> dict[tuple[str, str], ProblemKey]:
        """By suite and id of each problem that has a trajectory."""
        copies: Counter[tuple[str, str]] = Counter()
        keys = {}
        for suite, problem_id in sorted({(place.suite, place.problem_id) for place in self.places}):
            known = self.problems.get(problem_id)
            digest = known.digest if known else f"id {problem_id}"
            keys[suite, problem_id] = ProblemKey(suite, digest, copies[suite, digest])
            copies[suite, digest] += 1
        return keys

    def outcomes(self, stage: Stage) -> Outcomes:
        """Returns how often a model was right on each problem."""
        outcomes: Outcomes = {}
        for place in self.places:
            if place.stage is stage and place.status.is_judged:
                suite = outcomes.setdefault(place.suite, {})
                key = self.keys[place.suite, place.problem_id]
                graded, correct = suite.get(key, (0, 0))
                suite[key] = graded + 1, correct + place.correct
        return outcomes

    def trajectory(self, place: Place) -> Trajectory:
        """Reads a trajectory."""
        return self.run.at("trajectories", Trajectory, place.offset)

    def problem(self, problem_id: str) -> Problem | None:
        """Reads a problem, if the run holds it."""
        known = self.problems.get(problem_id)
        return self.run.at("problems", Problem, known.offset) if known else None

    def interventions(self, key: AttemptKey) -> list[Intervention]:
        """Reads the interventions of an attempt."""
        return [self.run.at("interventions", Intervention, hint.offset) for hint in self.hints.get(key, [])]


def read_places(run: RunDirectory) -> Iterator[tuple[Place, Trajectory]]:
    """Yields each trajectory with what is to be kept of it.

    A trajectory that was finished twice, which a resume never does but a hand-merged file may, comes once: the first
    one stands. One that our machinery failed, which older versions kept, comes last, unless it was finished later.
    """
    seen: set[TrajectoryKey] = set()
    failed: dict[TrajectoryKey, Place] = {}
    for offset, trajectory in run.placed("trajectories", Trajectory):
        place = Place.of(trajectory, offset, offset)
        if place.is_failure:
            failed.setdefault(place.key, place)
        elif place.key not in seen:
            seen.add(place.key)
            yield place, trajectory
    for key, place in failed.items():
        if key not in seen:
            yield place, run.at("trajectories", Trajectory, place.offset)
