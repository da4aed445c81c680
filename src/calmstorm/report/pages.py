"""Renders report.html, and beside it one static page per problem: every sample of every model, and its curation.

All need no network, and nothing a model wrote can run in them (`html` says how). The problems' pages need no charts;
they are written one after the other, each from the lines of its own trajectories, so that memory holds one problem at
a time.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from calmstorm.records import Stage, TrajectoryKey
from calmstorm.report.arms import Arm, run_argument, suites_of
from calmstorm.report.collect import RunReport
from calmstorm.report.content import Content, content
from calmstorm.report.examples import choose_examples
from calmstorm.report.html import document, plotly, script_json
from calmstorm.report.index import AttemptKey
from calmstorm.report.problems import ProblemEntry, list_problems
from calmstorm.report.run_tables import differences
from calmstorm.report.transcripts import Transcript, plain, read_attempt

MOST_PROBLEMS = 3000
"""Problems that the page lists; where there are more, the list is problems.csv."""


def render_html(reports: Sequence[RunReport], *, pages: bool = False) -> str:
    """Returns report.html.

    Args:
        reports: The runs, one or several.
        pages: Whether the problems' pages lie beside the report, to be linked.
    """
    shown = content(reports)
    return render_content(shown, list_problems(reports, shown.arms), pages=pages)


def render_content(shown: Content, problems: Sequence[ProblemEntry], *, pages: bool) -> str:
    """Returns report.html from what was already put together."""
    plotly_source, plotly_packed = plotly()
    first = shown.reports[0]
    names = [report.name for report in shown.reports]
    config = first.index.run.path / "config.toml"
    return document(
        "report.html.j2",
        scripts=("charts.js", "list.js"),
        foreign_scripts=(plotly_source,),
        plotly=plotly_packed,
        figures=script_json({key: figure.drawn for key, figure in shown.figures.items()}),
        content=shown,
        title=names[0] if shown.is_alone else f"{len(names)} runs: {', '.join(names)}",
        suites=suites_of(shown.arms),
        first=first.numbers,
        pocket=any(report.numbers.run.pocket for report in shown.reports),
        differences=differences(shown.reports),
        problems=problems,
        most_problems=MOST_PROBLEMS,
        pages=pages,
        examples=choose_examples(first) if shown.is_method_run else [],
        config=config.read_text(encoding="utf-8", errors="replace") if shown.is_alone and config.exists() else "",
        commands=_commands(shown),
    )


def _commands(shown: Content) -> str:
    """The commands that make these runs, where it is known how they were made, and this report again."""
    lines = []
    for report in shown.reports:
        run = report.numbers.run
        commit = f", at commit {run.commit[:12]}" if run.commit else ""
        lines.append(f"# {report.name}: {run.problems:,} problems{commit}")
        if report.is_evaluation:
            lines.append(_evaluation_command(report))
        elif run.pocket and run.reasoner == "pocket":
            lines.append("calm demo" if run.seed is None else f"calm demo --seed {run.seed}")
    runs = [run_argument(report) for report in shown.reports]
    lines.append(f"calm report {' '.join(runs)}{'' if shown.is_alone else ' --out DIRECTORY'}")
    return "\n".join([*lines, *(f"calm studio {run}" for run in runs)])


def _evaluation_command(report: RunReport) -> str:
    run = report.numbers.run
    sources = " ".join(f"--problems {shlex.quote(name)}" for name in (run.evaluated or "").split(", "))
    reasoner, _, server = (run.reasoner or "pocket").partition(" at ")
    model = f"{shlex.quote(server)} --model {shlex.quote(reasoner)}" if server else shlex.quote(reasoner)
    results = [result for suites in report.numbers.evaluation.values() for result in suites.values()]
    samples = max((result.samples for result in results), default=8)
    how = f"--reasoner {model} --samples {samples} --seed {run.seed}"
    return f"calm eval {sources} {how} --run {run_argument(report)}"


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
    curated = [(report, place) for report, place in entry.places if place.stage is Stage.CURATION]
    attempts = [
        read_attempt(report, key, f"{report.name}, sample {key.sample}", f"curation-{number}-{key.sample}")
        for number, report in enumerate(reports)
        for key in sorted({AttemptKey(place.problem_id, place.sample) for run, place in curated if run is report})
        if key in report.index.attempts
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
