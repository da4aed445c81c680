"""What a run holds of its curated samples: how far each one is and where its pieces stand, and what they took.

Texts stay on disk: a sample takes some hundred bytes, and its last trajectory is read when its turn comes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from calmstorm.costs import Spending
from calmstorm.curation.loop import SampleProgress, is_finished
from calmstorm.records import (
    Intervention,
    Review,
    ReviewOutcome,
    Stage,
    Trajectory,
    VerdictStatus,
)
from calmstorm.runs import Place, RunDirectory
from calmstorm.settings import BudgetSettings

SampleKey = tuple[str, int]
"""Problem id and sample."""


@dataclass(slots=True)
class CuratedSample:
    """How far one sample is."""

    rounds: int = 0
    offset: int = -1
    """Of the last round's line, bytes."""
    first_offset: int = -1
    """Of the first round's line, bytes."""
    first: VerdictStatus = VerdictStatus.UNGRADED
    """Of the first attempt."""
    last: VerdictStatus = VerdictStatus.UNGRADED
    interventions: tuple[int, ...] = ()
    """Offsets by round."""
    reviews: tuple[int, ...] = ()
    """Offsets by round."""
    outcome: ReviewOutcome | None = None
    """Of the last review."""

    @property
    def flawless(self) -> bool:
        """Whether the Intervener found no flaw in the last round."""
        return self.outcome is ReviewOutcome.FLAWLESS

    @property
    def review_failed(self) -> bool:
        """Whether the Intervener gave no usable review of the last round."""
        return self.outcome is ReviewOutcome.FAILED

    def is_finished(self, most_interventions: int) -> bool:
        """Whether nothing is left to do."""
        return is_finished(self.outcome, len(self.reviews), most_interventions)

    def add_round(self, place: Place) -> None:
        """Takes in a finished round."""
        if place.round == self.rounds:
            if not self.rounds:
                self.first, self.first_offset = place.status, place.offset
            self.last, self.offset = place.status, place.offset
            self.rounds += 1

    def add_review(self, offset: int, review: Review) -> None:
        """Takes in a review."""
        self.reviews = (*self.reviews, offset)
        self.outcome = review.outcome

    def trajectory(self, run: RunDirectory) -> Trajectory:
        """Reads the last round."""
        return run.at("trajectories", Trajectory, self.offset)

    def first_trajectory(self, run: RunDirectory) -> Trajectory:
        """Reads the first round."""
        return run.at("trajectories", Trajectory, self.first_offset)

    def hints(self, run: RunDirectory) -> list[Intervention]:
        """Reads the interventions."""
        return [run.at("interventions", Intervention, offset) for offset in self.interventions]

    def progress(self, run: RunDirectory) -> SampleProgress:
        """Reads what the loop needs to go on."""
        return SampleProgress(
            rounds=self.rounds,
            latest=self.trajectory(run) if self.rounds else None,
            interventions=self.hints(run),
            reviews=[run.at("reviews", Review, offset) for offset in self.reviews],
        )


@dataclass(frozen=True)
class Curated:
    """All curated samples of a run."""

    samples: defaultdict[SampleKey, CuratedSample] = field(default_factory=lambda: defaultdict(CuratedSample))
    spending: Spending = field(default_factory=Spending)


def read_curated(run: RunDirectory, budget: BudgetSettings | None = None) -> Curated:
    """Reads how far each sample of a run has been curated, and what that took."""
    curated = Curated(spending=Spending(budget or BudgetSettings()))
    samples, spending = curated.samples, curated.spending
    for place in run.places(Stage.CURATION):
        samples[place.problem_id, place.sample].add_round(place)
        spending.reasoner.add(place.sent, place.drawn, place.seconds, place.cost)
    for offset, intervention in run.placed("interventions", Intervention):
        sample = samples[intervention.problem_id, intervention.sample]
        sample.interventions = (*sample.interventions, offset)
    for offset, review in run.placed("reviews", Review):
        samples[review.problem_id, review.sample].add_review(offset, review)
        spending.add_review(review.usage)
    return curated
