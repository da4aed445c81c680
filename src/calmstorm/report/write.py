"""Writes a report: report.json, report.html, and beside them a folder with tables and the problems' pages.

    report.json  report.html
    report_files/tables/<table>.md, .csv, .tex    report_files/problems.csv    report_files/problems/<problem>.html

Into the run itself, or, on several runs, into a folder of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from calmstorm.atomic import write_atomically
from calmstorm.errors import InputError
from calmstorm.report.collect import read_run
from calmstorm.report.content import content
from calmstorm.report.export import write_tables
from calmstorm.report.numbers import RunNumbers, SeveralNumbers
from calmstorm.report.pages import render_content, write_pages
from calmstorm.report.problems import list_problems, problems_csv

FILES = "report_files"
"""Folder beside report.html; the page links into it."""


def write_report(run_path: Path) -> RunNumbers:
    """Reports a run as far as it is, into the run, and returns its numbers.

    The run is not locked: a report may be written while the run goes on, and each file is replaced as a whole.

    Raises:
        InputError: `run_path` is not a run directory.
        WorkError: A line of the run is damaged.
    """
    return write_reports([run_path], run_path).runs[0]


def write_reports(run_paths: Sequence[Path], out: Path, *, pages: bool = True) -> SeveralNumbers:
    """Reports one run or several, and returns their numbers.

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
    shown = content(reports)
    problems = list_problems(reports, shown.arms)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_tables(shown.tables, out / FILES / "tables")
        write_atomically(out / FILES / "problems.csv", problems_csv(problems, shown.arms))
        write_pages(reports, shown.arms, problems if pages else [], out / FILES / "problems")
        data = report_json(numbers).model_dump(mode="json")
        write_atomically(out / "report.json", json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        write_atomically(out / "report.html", render_content(shown, problems, pages=pages))
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; name a folder that can be written with --out") from None
    return numbers


def report_json(numbers: SeveralNumbers) -> RunNumbers | SeveralNumbers:
    """Returns what report.json holds: the numbers of the run, or of several."""
    return numbers.runs[0] if len(numbers.runs) == 1 else numbers
