"""What is kept of a run's problems: where each stands, and what tells it from all others; texts stay on disk.

The same problem has other ids in other runs (`nl4opt-1` where several benchmarks were evaluated, `1` where one was), so
problems of several runs are matched by text and label.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass

from calmstorm.records import Problem
from calmstorm.runs import RunDirectory

EXCERPT = 140
"""Characters of a problem text that a list shows."""


@dataclass(frozen=True, slots=True)
class ProblemPlace:
    """What is kept of a problem."""

    offset: int
    """Of its line in `problems.jsonl`, bytes."""
    suite: str
    label: float | str | None
    label_version: str
    digest: str
    """Of text, label and tolerance: the same for the same problem under the same label."""
    excerpt: str
    """How the text begins."""


def read_problem_places(run: RunDirectory) -> dict[str, ProblemPlace]:
    """Reads the problems of a run once; by id, the first one of an id stands."""
    places: dict[str, ProblemPlace] = {}
    for offset, problem in run.placed("problems", Problem):
        if problem.id not in places:
            places[sys.intern(problem.id)] = ProblemPlace(
                offset=offset,
                suite=sys.intern(problem.suite),
                label=problem.label,
                label_version=sys.intern(problem.label_version),
                digest=_digest(problem),
                excerpt=_excerpt(problem.question),
            )
    return places


def _digest(problem: Problem) -> str:
    text = "\n".join((problem.question, repr(problem.label), repr(problem.tolerance)))
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _excerpt(question: str) -> str:
    flat = " ".join(question[: 4 * EXCERPT].split())
    return flat if len(flat) <= EXCERPT else flat[: EXCERPT - 1].rstrip() + "…"
