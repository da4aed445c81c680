"""The report room: what runs came to, as report.json for programs and report.html for people.

`build_report` computes the numbers of a run, `read_run` also where its texts stand, `render_html` draws one run or
several, `write_report` and `write_reports` do all of it and write the files. A run that is partly done is reported as
far as it is.
"""

from calmstorm.report.build import RunReport, build_report, read_run
from calmstorm.report.page import render_html
from calmstorm.report.write import FILES, write_report, write_reports

__all__ = ["FILES", "RunReport", "build_report", "read_run", "render_html", "write_report", "write_reports"]
