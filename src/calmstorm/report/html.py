"""What the report's pages are made of, and the walls between hostile text and the reader's browser.

Templates escape everything (jinja2, autoescape on), JSON is written in ASCII with `<`, `>` and `&` escaped, characters
that hide or turn text are written out; and should that ever fail, the content security policy runs only scripts whose
SHA-256 it names, and forbids every request. plotly.js is embedded gzipped: 2 MB instead of 5.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from functools import cache
from importlib import resources

import jinja2
from plotly.offline import get_plotlyjs

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with characters that show nothing, break lines or turn the writing direction written out as `<U+202E>`.

    Left in, they could reorder what stands around them, or make code read otherwise than it runs.
    """
    return _INVISIBLE.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def content_policy(*scripts: str) -> str:
    """The content security policy: no request at all, and no script but these, by their hash."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def script_json(value: object) -> str:
    """JSON that can stand inside a script element: pure ASCII, no character that HTML could take for markup."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def template(name: str) -> jinja2.Template:
    """One of the package's templates."""
    return _environment().get_template(name)


@cache
def asset(name: str) -> str:
    """The text of a stylesheet or script of the package."""
    return (resources.files("calmstorm.report") / "templates" / name).read_text(encoding="utf-8").strip()


@cache
def plotly() -> tuple[str, str]:
    """plotly.js as its text, and as it is embedded: gzip, base64."""
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
    environment.filters["count"] = _count
    return environment


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
