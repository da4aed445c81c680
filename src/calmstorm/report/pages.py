"""Writes a report: report.json, report.html, and beside them a folder with tables and the problems' pages.

    report.json  report.html
    report_files/tables/<table>.md, .csv, .tex    report_files/problems.csv    report_files/problems/<problem>.html

Into the run itself, or, on several runs, into a folder of its own. No page needs the network, and nothing a model wrote
can run in one (`html` says how). Problems' pages are written one after the other, each from the lines of its own
trajectories, so that memory holds one problem at a time.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from calmstorm.atomic import write_atomically
from calmstorm.errors import InputError
from calmstorm.records import Stage, TrajectoryKey
from calmstorm.report.arms import Arm, run_argument, suites_of
from calmstorm.report.collect import RunReport, read_run
from calmstorm.report.content import Content
from calmstorm.report.export import write_tables
from calmstorm.report.html import document
from calmstorm.report.index import AttemptKey
from calmstorm.report.numbers import RunNumbers, SeveralNumbers
from calmstorm.report.problems import ProblemEntry, problems_csv
from calmstorm.report.run_tables import differences
from calmstorm.report.transcripts import Transcript, choose_examples, plain, read_attempt

FILES = "report_files"
"""Folder beside report.html; the page links into it."""
MOST_PROBLEMS = 3000
"""Problems that the page lists; where there are more, the list is problems.csv."""


def write_reports(run_paths: Sequence[Path], out: Path, *, pages: bool = True) -> SeveralNumbers:
    """Reports one run or several as far as they are, and returns their numbers.

    The runs are not locked: a report may be written while a run goes on, and each file is replaced as a whole.

    Args:
        run_paths: Run directories, in the order in which the report has them.
        out: Folder to write into; made if need be.
        pages: Write a page for each problem.

    Raises:
        InputError: One of the paths is not a run directory, or `out` cannot be written.
        WorkError: A line of a run is damaged.
    """
    reports = [read_run(path) for path in run_paths]
    if len(reports) > 1 and any((out / name).exists() for name in ("trajectories.jsonl", "config.toml")):
        raise InputError(f"{out}: is a run, whose own report this one would replace; name another folder with --out")
    numbers = SeveralNumbers(runs=tuple(report.numbers for report in reports))
    shown = Content(reports)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_tables(shown.tables, out / FILES / "tables")
        write_atomically(out / FILES / "problems.csv", problems_csv(shown.problems, shown.arms))
        _write_pages(shown, out / FILES / "problems", pages=pages)
        data = report_json(numbers).model_dump(mode="json")
        write_atomically(out / "report.json", json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        write_atomically(out / "report.html", render_html(shown, pages=pages))
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; name a folder that can be written with --out") from None
    return numbers


def report_json(numbers: SeveralNumbers) -> RunNumbers | SeveralNumbers:
    """Returns what report.json holds: the numbers of the run, or of several."""
    return numbers.runs[0] if len(numbers.runs) == 1 else numbers


def render_html(shown: Content, *, pages: bool = False) -> str:
    """Returns report.html.

    Args:
        shown: What it shows.
        pages: Whether the problems' pages lie beside it, to be linked.
    """
    first = shown.reports[0]
    names = [report.name for report in shown.reports]
    config = first.index.run.path / "config.toml"
    return document(
        "report.html.j2",
        "charts.js",
        "list.js",
        "plotly.js",
        figures={key: figure.drawn for key, figure in shown.figures.items()},
        content=shown,
        title=names[0] if shown.is_alone else f"{len(names)} runs: {', '.join(names)}",
        suites=suites_of(shown.arms),
        first=first.numbers,
        pocket=any(report.numbers.run.pocket for report in shown.reports),
        differences=differences(shown.reports),
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
    how = f"--reasoner {model} --samples {report.samples or 8} --seed {run.seed}"
    return f"calm eval {sources} {how} --run {run_argument(report)}"


def _write_pages(shown: Content, folder: Path, *, pages: bool) -> None:
    """Writes a page for each problem, and takes away pages of an earlier report that no longer belong.

    Args:
        shown: What the report shows; its problems, in the order in which the pages lead to one another.
        folder: Becomes a folder of such pages and nothing else.
        pages: Whether there are any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = {entry.page: place for place, entry in enumerate(shown.problems) if pages}
    for page in folder.glob("*.html"):
        if page.name not in places:
            page.unlink()
    for name, place in places.items():
        (folder / name).write_text(problem_page(shown, place), encoding="utf-8", newline="\n")


def problem_page(shown: Content, place: int) -> str:
    """Returns the page of a problem, with links to the one before and the one after."""
    entry = shown.problems[place]
    attempts = []
    for number, report in enumerate(shown.reports):
        curated = [at for run, at in entry.places if run is report and at.stage is Stage.CURATION]
        attempts += [
            read_attempt(report, key, f"{report.name}, sample {key.sample}", f"curation-{number}-{key.sample}")
            for key in sorted({AttemptKey(at.problem_id, at.sample) for at in curated})
            if key in report.index.attempts
        ]
    samples = {arm.name: _samples(arm, entry) for arm in shown.arms}
    return document(
        "problem.html.j2",
        entry=entry,
        problem=entry.problem,
        report_name=shown.reports[0].name if shown.is_alone else "the report",
        before=shown.problems[place - 1] if place else None,
        after=shown.problems[place + 1] if place + 1 < len(shown.problems) else None,
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
