"""The report room: what runs came to, as report.json for programs and report.html for people.

`read_run` computes the numbers of a run and where its texts stand, `Content` lays out one run or several, `render_html`
draws them, `write_reports` does all of it and writes the files. A run that is partly done is reported as far as it is.
"""

from calmstorm.report.collect import RunReport, read_run
from calmstorm.report.content import Content
from calmstorm.report.numbers import RunNumbers, SeveralNumbers
from calmstorm.report.pages import FILES, render_html, report_json, write_reports

__all__ = [
    "FILES",
    "Content",
    "RunNumbers",
    "RunReport",
    "SeveralNumbers",
    "read_run",
    "render_html",
    "report_json",
    "write_reports",
]
