"""Pages from templates, and what keeps hostile text from acting in the reader's browser.

Templates escape everything (jinja2, autoescape on), JSON is written by jinja2's `tojson`, without `<`, `>` and `&`, and
characters that hide or turn text are written out; and should that ever fail, the content security policy runs only
scripts whose SHA-256 it names, and forbids every request. plotly.js is embedded gzipped: 2 MB instead of 5.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from functools import cache
from importlib import resources

import jinja2
from plotly.offline import get_plotlyjs

from calmstorm.algebra import formulation_lines
from calmstorm.printable import visible
from calmstorm.report.published import suite_name
from calmstorm.report.tables import share
from calmstorm.report.transcripts import written
from calmstorm.rollout.fences import script_of


def document(template: str, *scripts: str, **values: object) -> str:
    """Returns a page.

    Args:
        template: Name of the template.
        *scripts: Names of the scripts that it may run beside `theme.js`.
        **values: What the template shows.
    """
    digests = [hashlib.sha256(asset(name).encode()).digest() for name in ("theme.js", *scripts)]
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    policy = (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    return _environment().get_template(template).render(policy=policy, **values)


@cache
def asset(name: str) -> str:
    """Returns the text of a stylesheet or script of the package, or `plotly.js`."""
    if name == "plotly.js":
        source: str = get_plotlyjs()
        return source
    return (resources.files("calmstorm.report") / "templates" / name).read_text(encoding="utf-8").strip()


@cache
def packed(name: str) -> str:
    """Returns the same as it is embedded: gzip, base64."""
    return base64.b64encode(gzip.compress(asset(name).encode(), compresslevel=9, mtime=0)).decode()


@cache
def _environment() -> jinja2.Environment:
    templates = resources.files("calmstorm.report") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (templates / name).read_text(encoding="utf-8")),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.globals |= {"asset": asset, "packed": packed, "share": share}
    environment.filters |= {
        "count": lambda value: "" if value is None else f"{value:,}",
        "lines_of": formulation_lines,
        "script": script_of,
        "suite": suite_name,
        "written": written,
    }
    return environment
