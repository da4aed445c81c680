"""A run in which everything that may hold foreign text does: markup, template syntax, script ends, odd line breaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tomli_w

from tests.report.synthetic_run import write_run

MARKUP = "<script>window.pwned = 1</script></script></style></title></textarea><img src=x onerror='window.pwned=1'>"
HOSTILE = (
    MARKUP + "<!-- {{ 7 * 7 }} {% raw %} {# #} ]]> \\ \\u003c \u2028 \u2029 \u202e \x00 \x1b[31m &lt;b&gt; \" ' ` ${1} "
    "%{x} <a href='javascript:window.pwned=1'>x</a> javascript:window.pwned=1 \U0001f600"
)

OPEN_FIELDS = {"question", "suite", "family", "label_version", "text", "stdout", "stderr", "analysis", "hint", "target"}
"""Fields of records that hold free text. Ids and stages are joined on, so they are replaced alike everywhere."""

NAME = "<script>window.pwned=1<" + "‮{{ 7 * 7 }}"
"""A directory name; it cannot hold a slash."""


def write_hostile_run(parent: Path) -> Path:
    """Writes a synthetic run, then replaces all its text."""
    root = write_run(parent / NAME, curation=12, tests=3, samples=2)
    for path in root.glob("*.jsonl"):
        rows = [_poison(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (root / "env.json").write_text(
        json.dumps({"versions": {HOSTILE: HOSTILE}, "platform": HOSTILE, "commit": HOSTILE}), encoding="utf-8"
    )
    settings = {"reasoner": HOSTILE, HOSTILE: {"note": HOSTILE}}
    (root / "config.toml").write_text(tomli_w.dumps(settings), encoding="utf-8")
    return root


def _poison(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _poison(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_poison(item, name) for item in value]
    if not isinstance(value, str):
        return value
    if name in OPEN_FIELDS or name in ("got", "expected", "answer"):
        return HOSTILE
    if name in ("problem_id", "id"):
        return value + HOSTILE
    if name == "stage" and value == "report":  # of timing.jsonl; those of records are an enum
        return HOSTILE
    return value
