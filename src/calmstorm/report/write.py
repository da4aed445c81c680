"""Writes a report: report.json, report.html, and beside them a folder with tables and the problems' pages.

    report.json  report.html
    report_files/tables/<table>.md, .csv, .tex    report_files/problems.csv    report_files/problems/<problem>.html

Into the run itself, or, on several runs, into a folder of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calmstorm.atomic import write_atomically
from calmstorm.errors import InputError
from calmstorm.report.build import REPORT_SCHEMA, read_run
from calmstorm.report.content import content
from calmstorm.report.export import write_tables
from calmstorm.report.page import render_content
from calmstorm.report.problem_index import problem_index, problems_csv
from calmstorm.report.problem_pages import write_pages

FILES = "report_files"
"""Folder beside report.html; the page links into it."""


def write_report(run_path: Path) -> dict[str, Any]:
    """Reports a run as far as it is, into the run, and returns what report.json holds.

    The run is not locked: a report may be written while the run goes on, and each file is replaced as a whole.

    Raises:
        InputError: `run_path` is not a run directory.
        WorkError: a line of the run is damaged.
    """
    return write_reports([run_path], run_path)


def write_reports(run_paths: Sequence[Path], out: Path, *, pages: bool = True) -> dict[str, Any]:
    """Reports one run or several, and returns what report.json holds.

    Args:
        run_paths: run directories, in the order in which the report has them.
        out: folder to write into; made if need be.
        pages: write a page for each problem.

    Returns:
        The numbers of the run; of several, `{schema, runs: [...]}` with the numbers of each.

    Raises:
        InputError: one of the paths is not a run directory, or `out` cannot be written.
        WorkError: a line of a run is damaged.
    """
    reports = [read_run(path) for path in run_paths]
    if len(reports) > 1 and any((out / name).exists() for name in ("trajectories.jsonl", "config.toml")):
        raise InputError(f"{out}: is a run, whose own report this one would replace; name another folder with --out")
    numbers: dict[str, Any] = reports[0].numbers
    if len(reports) > 1:
        numbers = {"schema": REPORT_SCHEMA, "runs": [report.numbers for report in reports]}
    shown = content(reports)
    problems = problem_index(reports, shown.arms)
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = out / FILES
        write_tables(shown.tables, folder / "tables")
        write_atomically(folder / "problems.csv", problems_csv(problems, shown.arms))
        write_pages(reports, shown.arms, problems if pages else [], folder / "problems")
        text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(out / "report.json", text)
        write_atomically(out / "report.html", render_content(shown, problems, pages=pages))
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; name a folder that can be written with --out") from None
    return numbers
