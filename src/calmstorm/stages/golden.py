"""The golden stage: of the curated samples of a run, those that are correct and flawless."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from calmstorm.curation.golden import Rejection, golden_trajectory, rejection
from calmstorm.errors import InputError
from calmstorm.progress import note
from calmstorm.records import GoldenTrajectory, Problem, Record, Trajectory
from calmstorm.runs import RunDirectory
from calmstorm.settings import CurationSettings
from calmstorm.stages.curation import curation_progress


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


def filter_golden(run: RunDirectory, settings: CurationSettings) -> Funnel:
    """Filters the curated samples of a run and writes `golden.jsonl` whole, as it follows from what is stored.

    Args:
        run: With curated samples.
        settings: How strict to be (`golden`), and how long a response may be (`golden_tokens`).

    Raises:
        InputError: Nothing was curated.
    """
    problems = {problem.id: problem for problem in run.read("problems", Problem)}
    curated = {key: sample for key, sample in sorted(curation_progress(run).items()) if sample.trajectories}
    if not curated:
        raise InputError(f"{run.path}: there are no curated trajectories in it; run calm curate first")
    golden: list[GoldenTrajectory] = []
    rejected: Counter[str] = Counter()
    for (problem_id, _), sample in curated.items():
        reason = rejection(
            sample.trajectories[-1],
            flawless=sample.flawless,
            most_tokens=settings.golden_tokens,
            rule=settings.golden,
            review_failed=sample.review_failed,
        )
        if reason is None:
            golden.append(golden_trajectory(problems[problem_id], sample))
        else:
            rejected[reason.value] += 1
    run.write_text("golden.jsonl", "".join(record.model_dump_json(by_alias=True) + "\n" for record in golden))
    if rejected[Rejection.UNGRADED]:
        note(
            f"{rejected[Rejection.UNGRADED]} of {len(curated)} samples belong to problems without a label and can "
            "never be golden: give the problems labels and curate them again"
        )
    return Funnel(
        samples=len(curated),
        correct_before=round(_share_correct(sample.trajectories[0] for sample in curated.values()), 4),
        correct_after=round(_share_correct(sample.trajectories[-1] for sample in curated.values()), 4),
        golden=len(golden),
        hints=sum(len(sample.interventions) for sample in curated.values()),
        rejected=dict(rejected),
    )


def _share_correct(trajectories: Iterable[Trajectory]) -> float:
    """Returns the share of correct answers; what our machinery failed and what has no label counts as neither."""
    verdicts = [t.verdict for t in trajectories if t.verdict is not None and t.verdict.status.is_judged]
    return sum(verdict.correct for verdict in verdicts) / max(1, len(verdicts))
