"""Which problems a report holds, what came of each, and where its trajectories stand: an index without texts."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from calmstorm.records import VerdictStatus
from calmstorm.report.arms import Arm
from calmstorm.report.build import RunReport
from calmstorm.report.counts import CURATION, Place, suite_rank
from calmstorm.report.export import csv_text
from calmstorm.report.published import suite_name

ProblemKey = tuple[str, str, int]
"""(suite, digest of text and label, which of several with the same)."""
JUDGED = (VerdictStatus.CORRECT, VerdictStatus.WRONG, VerdictStatus.NO_ANSWER)


@dataclass
class ProblemEntry:
    """One problem of a report."""

    suite: str
    page: str
    """Name of its file: lower-case letters, digits and hyphens, and `.html`."""
    ids: dict[int, str]
    """By position of the run among the report's."""
    label: float | str | None
    label_version: str
    excerpt: str
    outcomes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """(graded, correct) samples by arm."""
    curated: str = ""
    """What curation came to: `golden`, `correct` or `wrong`, the best of its attempts."""
    places: list[tuple[int, Place]] = field(default_factory=list)
    """(position of the run, place) of each trajectory."""

    @property
    def name(self) -> str:
        """The id, as the first run has it."""
        return next(iter(self.ids.values()))

    @property
    def solved(self) -> str:
        """Over all arms: `always`, `sometimes`, `never`, or nothing when no sample was graded."""
        graded = sum(samples for samples, _ in self.outcomes.values())
        correct = sum(right for _, right in self.outcomes.values())
        if not graded:
            return ""
        return "always" if correct == graded else "sometimes" if correct else "never"


def problem_index(reports: Sequence[RunReport], arms: Sequence[Arm]) -> list[ProblemEntry]:
    """Returns every problem that has a trajectory: evaluated suites from easy to hard, then those of the curation."""
    numbers = {
        (position, arm.stage): arm.index
        for position, report in enumerate(reports)
        for arm in arms
        if arm.report is report
    }
    entries: dict[ProblemKey, ProblemEntry] = {}
    for position, report in enumerate(reports):
        keys = _keys(report)
        for place in report.counts.places:
            key = keys[place.suite, place.problem_id]
            entry = entries.get(key) or entries.setdefault(key, _entry(report, place, key))
            entry.ids.setdefault(position, place.problem_id)
            entry.places.append((position, place))
            if place.stage != CURATION and place.status in JUDGED:
                arm = numbers[position, place.stage]
                graded, correct = entry.outcomes.get(arm, (0, 0))
                entry.outcomes[arm] = graded + 1, correct + place.correct
        _mark_curated(report, keys, entries)
    return sorted(
        entries.values(), key=lambda each: (not each.outcomes, suite_rank(each.suite), each.suite, _natural(each.name))
    )


def _keys(report: RunReport) -> dict[tuple[str, str], ProblemKey]:
    """By (suite, id) what tells a problem from all others, in this run or another."""
    names = sorted({(place.suite, place.problem_id) for place in report.counts.places})
    copies: Counter[tuple[str, str]] = Counter()
    keys = {}
    for suite, problem_id in names:
        known = report.problems.get(problem_id)
        digest = known.digest if known else f"id {problem_id}"
        keys[suite, problem_id] = (suite, digest, copies[suite, digest])
        copies[suite, digest] += 1
    return keys


def _entry(report: RunReport, place: Place, key: ProblemKey) -> ProblemEntry:
    known = report.problems.get(place.problem_id)
    unique = hashlib.blake2b("\n".join(map(str, key)).encode(errors="surrogatepass"), digest_size=4).hexdigest()
    words = re.sub(r"[^a-z0-9]+", "-", f"{place.suite}-{place.problem_id}".lower().removeprefix("-"))[:48].strip("-")
    return ProblemEntry(
        suite=place.suite,
        page=f"{words or 'problem'}-{unique}.html",
        ids={},
        label=known.label if known else None,
        label_version=known.label_version if known else "",
        excerpt=known.excerpt if known else "",
    )


def _mark_curated(
    report: RunReport, keys: dict[tuple[str, str], ProblemKey], entries: dict[ProblemKey, ProblemEntry]
) -> None:
    ranks = {"": 0, "wrong": 1, "correct": 2, "golden": 3}
    for (problem_id, sample), attempt in report.counts.attempts.items():
        entry = entries[keys[attempt.last.suite, problem_id]]
        golden = (problem_id, sample) in report.curated.golden
        came_to = "golden" if golden else "correct" if attempt.last.correct else "wrong"
        entry.curated = max(entry.curated, came_to, key=lambda each: ranks[each])


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which p2 comes before p10."""
    return [
        (0, int(part), "") if part.isdigit() and part.isascii() else (1, 0, part) for part in re.split(r"(\d+)", name)
    ]


def problems_csv(entries: Sequence[ProblemEntry], arms: Sequence[Arm]) -> str:
    """Returns one line per problem: label, page, and correct and graded samples of each arm."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [f"{csv_text(arm.name)} {what}" for arm in arms for what in ("correct", "graded")]
    writer.writerow(["suite", "id", "label", "label version", "page", *heads, "curation"])
    for entry in entries:
        counts: list[object] = []
        for arm in arms:
            graded, correct = entry.outcomes.get(arm.index, (0, 0))
            counts += [correct, graded]
        label = csv_text(entry.label) if isinstance(entry.label, str) else "" if entry.label is None else entry.label
        writer.writerow(
            [
                csv_text(suite_name(entry.suite)),
                csv_text(entry.name),
                label,
                csv_text(entry.label_version),
                entry.page,
                *counts,
                entry.curated,
            ]
        )
    return out.getvalue()
