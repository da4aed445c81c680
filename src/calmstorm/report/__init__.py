"""The report room: what a run came to, as report.json for programs and report.html for people.

`build_report` computes the numbers, `render_html` draws them, `write_report` does both and writes the files. A run that
is partly done is reported as far as it is.
"""

from calmstorm.report.build import build_report
from calmstorm.report.page import render_html
from calmstorm.report.write import write_report

__all__ = ["build_report", "render_html", "write_report"]
