"""Writes report.json and report.html into a run directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from calmstorm.report.build import build_report
from calmstorm.report.page import render_html
from calmstorm.runs import RunDirectory
from calmstorm.runs.lines import write_atomically


def write_report(run_path: Path) -> dict[str, Any]:
    """Reports a run as far as it is, and returns what report.json holds.

    The run is not locked: a report may be written while the run goes on, and each file is replaced as a whole.

    Raises:
        InputError: `run_path` is not a run directory.
        WorkError: a line of the run is damaged.
    """
    report = build_report(run_path)
    html = render_html(report, RunDirectory(run_path, readonly=True))
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(run_path / "report.json", text)
    write_atomically(run_path / "report.html", html)
    return report
