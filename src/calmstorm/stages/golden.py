"""The golden stage: of the curated samples of a run, those that are correct and flawless."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import Field

from calmstorm.curation.golden import Rejection, golden_trajectory, rejection
from calmstorm.errors import InputError
from calmstorm.records import Problem, Record, Review, Usage, VerdictStatus
from calmstorm.runs import RunDirectory
from calmstorm.settings import CurationSettings
from calmstorm.stages.curated import read_curated


class Funnel(Record):
    """What became of curated samples."""

    samples: int
    correct_before: float
    """Share of first attempts that were correct."""
    correct_after: float
    """Share of last rounds that were correct."""
    golden: int
    hints: int
    rejected: dict[str, int]
    """Samples that are not golden, by reason."""
    reasoner: Usage
    """Tokens sent and drawn over all requests, seconds of all rollouts, US dollars."""
    intervener: Usage
    review_failure: str = Field("", exclude=True)
    """Why the first of the reviews failed that did; "" where none did. Told in `words`."""

    @property
    def words(self) -> list[str]:
        """What a user should know about samples without a label, and about reviews that failed."""
        words = []
        if count := self.rejected.get(Rejection.UNGRADED, 0):
            words.append(
                f"{count} of {self.samples} samples belong to problems without a label and can never be golden: "
                "give the problems labels and curate them again"
            )
        if count := self.rejected.get(Rejection.REVIEW, 0):
            words.append(
                f"{count} of {self.samples} samples end with a review that failed, which is not tried again; the first "
                f"one: {self.review_failure}"
            )
        return words


def filter_golden(run: RunDirectory, settings: CurationSettings) -> Funnel:
    """Filters the curated samples of a run and writes `golden.jsonl` whole, as it follows from what is stored.

    Trajectories are read one by one: memory does not grow with their length.

    Args:
        run: With curated samples.
        settings: How strict to be (`golden`), and how long a response may be (`golden_tokens`).

    Raises:
        InputError: Nothing was curated.
    """
    problems = dict(_offsets(run))
    curated = read_curated(run)
    samples = {key: sample for key, sample in sorted(curated.samples.items()) if sample.rounds}
    if not samples:
        raise InputError(f"{run.path}: there are no curated trajectories in it; run calm curate first")
    golden = 0
    rejected: Counter[str] = Counter()
    failure = ""
    with run.rewriting("golden") as write:
        for (problem_id, _), sample in samples.items():
            trajectory = sample.trajectory(run)
            reason = rejection(
                trajectory,
                flawless=sample.flawless,
                most_tokens=settings.golden_tokens,
                rule=settings.golden,
                review_failed=sample.review_failed,
                is_open=not sample.is_finished(settings.interventions),
            )
            if reason is not None:
                rejected[reason.value] += 1
                if reason is Rejection.REVIEW:
                    failure = failure or run.at("reviews", Review, sample.reviews[-1]).reason
                continue
            golden += 1
            problem = run.at("problems", Problem, problems[problem_id])
            write(golden_trajectory(problem, sample.first_trajectory(run), trajectory, sample.hints(run)))
    return Funnel(
        samples=len(samples),
        correct_before=round(_share_correct(sample.first for sample in samples.values()), 4),
        correct_after=round(_share_correct(sample.last for sample in samples.values()), 4),
        golden=golden,
        hints=sum(len(sample.interventions) for sample in samples.values()),
        rejected=dict(rejected),
        reasoner=curated.spending.reasoner.usage(),
        intervener=curated.spending.intervener.usage(),
        review_failure=failure,
    )


def _offsets(run: RunDirectory) -> Iterable[tuple[str, int]]:
    return ((problem.id, offset) for offset, problem in run.placed("problems", Problem))


def _share_correct(statuses: Iterable[VerdictStatus]) -> float:
    """Returns the share of correct answers; what our machinery failed and what has no label counts as neither."""
    judged = [status is VerdictStatus.CORRECT for status in statuses if status.is_judged]
    return sum(judged) / max(1, len(judged))
