"""One static page per problem, beside the report: every sample of every model, and what the hints made of it.

The pages need no script and no network. They are written one after the other, each from the lines of its own
trajectories, so that memory holds one problem at a time. File names are made of letters, digits and hyphens alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calmstorm.records import TrajectoryKey
from calmstorm.report.arms import Arm
from calmstorm.report.collect import RunReport
from calmstorm.report.html import document
from calmstorm.report.problems import ProblemEntry
from calmstorm.report.transcripts import Transcript, plain, read_attempt


def write_pages(
    reports: Sequence[RunReport], arms: Sequence[Arm], entries: Sequence[ProblemEntry], folder: Path
) -> None:
    """Writes a page for each problem, and takes away pages of an earlier report that no longer belong.

    Args:
        reports: The runs.
        arms: Their evaluated models.
        entries: The problems, in the order in which the pages lead to one another.
        folder: Becomes a folder of such pages and nothing else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {entry.page for entry in entries}
    for page in folder.glob("*.html"):
        if page.name not in wanted:
            page.unlink()
    for before, entry, after in zip([None, *entries], entries, [*entries[1:], None], strict=False):
        html = problem_page(reports, arms, entry, before, after)
        (folder / entry.page).write_text(html, encoding="utf-8", newline="\n")


def problem_page(
    reports: Sequence[RunReport],
    arms: Sequence[Arm],
    entry: ProblemEntry,
    before: ProblemEntry | None = None,
    after: ProblemEntry | None = None,
) -> str:
    """Returns the page of a problem, with links to the one before and the one after."""
    samples = {arm.name: _samples(arm, entry) for arm in arms}
    attempts = [
        read_attempt(
            report, key, f"{report.name}, sample {key.sample}", f"curation-{reports.index(report)}-{key.sample}"
        )
        for report, key in entry.attempts
    ]
    return document(
        "problem.html.j2",
        entry=entry,
        problem=entry.problem,
        report_name=reports[0].name if len(reports) == 1 else "the report",
        before=before,
        after=after,
        samples={name: transcripts for name, transcripts in samples.items() if transcripts},
        attempts=attempts,
    )


def _samples(arm: Arm, entry: ProblemEntry) -> list[Transcript]:
    places = [place for report, place in entry.places if report is arm.report and place.stage is arm.stage]
    transcripts = []
    for place in sorted(places, key=lambda place: (place.sample, place.round)):
        trajectory = arm.report.index.trajectory(place)
        flaws = arm.report.index.flaws.get(TrajectoryKey(place.stage, place.problem_id, place.sample))
        anchor = f"arm-{arm.position}-{place.sample}"
        transcripts.append(Transcript(f"Sample {place.sample}", trajectory, plain(trajectory), anchor, flaws=flaws))
    return transcripts
