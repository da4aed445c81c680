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


def document(
    template: str, *, scripts: tuple[str, ...] = (), foreign_scripts: tuple[str, ...] = (), **values: object
) -> str:
    """Returns a page.

    Args:
        template: Name of the template.
        scripts: Names of the package's scripts that the page holds beside `theme.js`.
        foreign_scripts: Texts of others that it may run.
        values: What the template shows.
    """
    texts = [asset(name) for name in ("theme.js", *scripts)]
    policy = content_policy(*texts, *foreign_scripts)
    return _environment().get_template(template).render(policy=policy, **values)


def content_policy(*scripts: str) -> str:
    """Returns the content security policy: no request at all, and no script but these, by their hash."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    hashes = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def asset(name: str) -> str:
    """Returns the text of a stylesheet or script of the package."""
    return (resources.files("calmstorm.report") / "templates" / name).read_text(encoding="utf-8").strip()


@cache
def plotly() -> tuple[str, str]:
    """Returns plotly.js as its text, and as it is embedded: gzip, base64."""
    source: str = get_plotlyjs()
    packed = gzip.compress(source.encode(), compresslevel=9, mtime=0)
    return source, base64.b64encode(packed).decode()


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
    environment.globals |= {"asset": asset, "share": share}
    environment.filters |= {
        "count": lambda value: "" if value is None else f"{value:,}",
        "lines_of": formulation_lines,
        "script": script_of,
        "suite": suite_name,
        "written": written,
    }
    return environment
