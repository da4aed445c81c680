"""One static page per problem, beside the report: every sample of every model, and what the hints made of it.

The pages need no script and no network. They are written one after the other, each from the lines of its own
trajectories, so that memory holds one problem at a time. File names are made of letters, digits and hyphens alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calmstorm.records import Problem, Trajectory
from calmstorm.report.arms import Arm
from calmstorm.report.build import RunReport
from calmstorm.report.counts import CURATION, Place
from calmstorm.report.examples import interventions_of
from calmstorm.report.html import asset, content_policy, template
from calmstorm.report.passages import annotate
from calmstorm.report.problem_index import ProblemEntry
from calmstorm.report.published import suite_name
from calmstorm.report.transcripts import is_correct, passage_views, plain_passages, verdict_words, written
from calmstorm.report.triggers import TRIGGER_NAMES


def write_pages(
    reports: Sequence[RunReport], arms: Sequence[Arm], entries: Sequence[ProblemEntry], folder: Path
) -> None:
    """Writes a page for each problem, and takes away pages of an earlier report that no longer belong.

    Args:
        reports: the runs.
        arms: their evaluated models.
        entries: the problems, in the order in which the pages lead to one another.
        folder: becomes a folder of such pages and nothing else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {entry.page for entry in entries}
    for old in folder.glob("*.html"):
        if old.name not in wanted:
            old.unlink()
    for number, entry in enumerate(entries):
        before = entries[number - 1] if number else None
        after = entries[number + 1] if number + 1 < len(entries) else None
        html = problem_page(reports, arms, entry, before, after)
        (folder / entry.page).write_text(html, encoding="utf-8", newline="\n")


def problem_page(
    reports: Sequence[RunReport],
    arms: Sequence[Arm],
    entry: ProblemEntry,
    before: ProblemEntry | None = None,
    after: ProblemEntry | None = None,
) -> str:
    """Returns the page of a problem."""
    theme_js = asset("theme.js")
    samples = [_samples(reports, arm, entry) for arm in arms]
    return template("problem.html.j2").render(
        policy=content_policy(theme_js),
        css=asset("base.css"),
        dark_css=asset("dark.css"),
        theme_js=theme_js,
        entry=entry,
        suite=suite_name(entry.suite),
        label=written(entry.label),
        report_name=reports[0].name if len(reports) == 1 else "the report",
        problem=_problem(reports, entry),
        before=before,
        after=after,
        arms=[{"name": arm.name, "samples": each} for arm, each in zip(arms, samples, strict=True) if each],
        attempts=_attempts(reports, entry),
    )


def _problem(reports: Sequence[RunReport], entry: ProblemEntry) -> Problem | None:
    for position, problem_id in entry.ids.items():
        known = reports[position].problems.get(problem_id)
        if known is not None:
            return reports[position].run.at("problems", Problem, known.offset)
    return None


def _samples(reports: Sequence[RunReport], arm: Arm, entry: ProblemEntry) -> list[dict[str, Any]]:
    """The samples of one model, in order."""
    mine = [
        place
        for position, place in entry.places
        if reports[position] is arm.report and place.stage == arm.stage and place.stage != CURATION
    ]
    return [_sample(arm, place) for place in sorted(mine, key=lambda place: (place.sample, place.round))]


def _sample(arm: Arm, place: Place) -> dict[str, Any]:
    trajectory = arm.report.run.at("trajectories", Trajectory, place.offset)
    found = arm.report.flaws.triggers.get((place.stage, place.problem_id, place.sample))
    return {
        "anchor": f"arm-{arm.index}-{place.sample}",
        "number": place.sample,
        "name": f"Sample {place.sample}",
        "flaws": [] if found is None else [f"{number} {TRIGGER_NAMES[number].lower()}" for number in found],
        "searched": found is not None,
        **_facts(trajectory),
        "passages": passage_views(plain_passages(trajectory), trajectory.executions),
    }


def _facts(trajectory: Trajectory) -> dict[str, Any]:
    verdict = trajectory.verdict
    return {
        "correct": is_correct(trajectory),
        "status": verdict_words(trajectory),
        "answer": written(trajectory.answer),
        "tokens": trajectory.usage.completion_tokens,
        "scripts": len(trajectory.executions),
        "stop": trajectory.stop_reason.value,
        "box": "" if verdict is None or verdict.protocol_ok else "box not as asked",
    }


def _attempts(reports: Sequence[RunReport], entry: ProblemEntry) -> list[dict[str, Any]]:
    """The curation of the problem: each attempt through its rounds."""
    found = []
    for position, problem_id in entry.ids.items():
        report = reports[position]
        samples = sorted({place.sample for at, place in entry.places if at == position and place.stage == CURATION})
        for sample in samples:
            attempt = report.counts.attempts.get((problem_id, sample))
            if attempt is not None:
                found.append(
                    {
                        "anchor": f"curation-{position}-{sample}",
                        **_attempt(report, (problem_id, sample), attempt.rounds),
                    }
                )
    return found


def _attempt(report: RunReport, key: tuple[str, int], places: dict[int, Place]) -> dict[str, Any]:
    rounds = {n: report.run.at("trajectories", Trajectory, place.offset) for n, place in sorted(places.items())}
    last = rounds[max(rounds)]
    passages, replaced = annotate(rounds, interventions_of(report, key))
    earlier = [
        {
            "name": f"Round {number}, as it was",
            **_facts(each),
            "passages": passage_views(plain_passages(each), each.executions),
        }
        for number, each in rounds.items()
        if each is not last
    ]
    return {
        "name": f"{report.name}, sample {key[1]}",
        "golden": key in report.curated.golden,
        "hints": len(report.curated.hints.get(key, [])),
        "replaced": replaced,
        **_facts(last),
        "passages": passage_views(passages, last.executions),
        "earlier": earlier,
    }
