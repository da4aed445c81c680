"""Which problems a report holds, what came of each, and where its trajectories stand: an index without texts."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from calmstorm.records import Problem
from calmstorm.report.arms import Arm
from calmstorm.report.collect import RunReport
from calmstorm.report.export import csv_text
from calmstorm.report.index import ProblemKey, ProblemPlace
from calmstorm.report.numbers import suite_rank
from calmstorm.report.published import suite_name
from calmstorm.runs import Place

CURATED = ("", "wrong", "correct", "golden")
"""What curation came to, from worst to best."""


@dataclass
class ProblemEntry:
    """One problem of a report."""

    suite: str
    page: str
    """Name of its file: lower-case letters, digits and hyphens, and `.html`."""
    known: ProblemPlace
    outcomes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """(graded, correct) samples by position of the arm."""
    curated: str = ""
    """The best of its attempts, one of `CURATED`."""
    places: list[tuple[RunReport, Place]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The id, as the first run has it."""
        return self.places[0][1].problem_id

    @property
    def solved(self) -> str:
        """Over all arms: `always`, `sometimes`, `never`, or nothing when no sample was graded."""
        graded = sum(samples for samples, _ in self.outcomes.values())
        correct = sum(right for _, right in self.outcomes.values())
        if not graded:
            return ""
        return "always" if correct == graded else "sometimes" if correct else "never"

    @property
    def problem(self) -> Problem | None:
        """The problem, read from the first run that holds it."""
        ids = dict.fromkeys((report, place.problem_id) for report, place in self.places)
        problems = (report.index.problem(problem_id) for report, problem_id in ids)
        return next((problem for problem in problems if problem is not None), None)


def list_problems(reports: Sequence[RunReport], arms: Sequence[Arm]) -> list[ProblemEntry]:
    """Returns every problem that has a trajectory: evaluated suites from easy to hard, then those of the curation."""
    entries: dict[ProblemKey, ProblemEntry] = {}
    for report in reports:
        index = report.index
        for place in index.places:
            key = index.keys[place.suite, place.problem_id]
            if key not in entries:
                known = index.problems.get(place.problem_id, ProblemPlace())
                entries[key] = ProblemEntry(place.suite, _page(place, key), known)
            entries[key].places.append((report, place))
        for attempt, rounds in index.attempts.items():
            last = rounds[max(rounds)]
            curated = "golden" if attempt in index.golden else "correct" if last.correct else "wrong"
            entry = entries[index.keys[last.suite, attempt.problem_id]]
            entry.curated = max(entry.curated, curated, key=CURATED.index)
    for arm in arms:
        for outcomes in arm.outcomes.values():
            for key, outcome in outcomes.items():
                entries[key].outcomes[arm.position] = outcome
    return sorted(
        entries.values(),
        key=lambda entry: (not entry.outcomes, suite_rank(entry.suite), entry.suite, _natural(entry.name)),
    )


def _page(place: Place, key: ProblemKey) -> str:
    unique = hashlib.blake2b("\n".join(map(str, key)).encode(errors="surrogatepass"), digest_size=4).hexdigest()
    words = re.sub(r"[^a-z0-9]+", "-", f"{place.suite}-{place.problem_id}".lower().removeprefix("-"))[:48].strip("-")
    return f"{words or 'problem'}-{unique}.html"


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which p2 comes before p10."""
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), "") if part.isascii() and part.isdigit() else (1, 0, part) for part in parts]


def problems_csv(entries: Sequence[ProblemEntry], arms: Sequence[Arm]) -> str:
    """Returns one line per problem: label, page, and correct and graded samples of each arm."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [f"{csv_text(arm.name)} {what}" for arm in arms for what in ("correct", "graded")]
    writer.writerow(["suite", "id", "label", "label version", "page", *heads, "curation"])
    for entry in entries:
        outcomes = [entry.outcomes.get(arm.position, (0, 0)) for arm in arms]
        counts = [count for graded, correct in outcomes for count in (correct, graded)]
        texts = (suite_name(entry.suite), entry.name, entry.known.label, entry.known.label_version, entry.page)
        writer.writerow(
            [csv_text(text) if isinstance(text, str) else text for text in texts] + [*counts, entry.curated]
        )
    return out.getvalue()
