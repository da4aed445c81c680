"""The prompts of models that review: files in `prompts/`, named with a version, with markers where data go in.

A template is split at its markers once and the data are put between the pieces, so that nothing in a problem or a
response can be taken for a marker or a format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_MARKER = re.compile(r"\[\[(\w+)\]\]")


def filled(name: str, values: Mapping[str, str]) -> str:
    """Returns a prompt with every `[[marker]]` of its template replaced by the value of that name.

    Args:
        name: Prompt with its version ("intervener-1").
        values: One for each marker of the template.
    """
    template = files(__package__).joinpath("prompts", f"{name}.md").read_text(encoding="utf-8")
    pieces = _MARKER.split(template)
    return "".join(values[piece] if index % 2 else piece for index, piece in enumerate(pieces)).strip()
