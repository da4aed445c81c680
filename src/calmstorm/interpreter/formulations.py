"""From what a script's process reported about its models to records one can rely on the shape of."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from calmstorm.records import Formulation


def parse(records: bytes) -> tuple[Formulation, ...]:
    """Returns the formulations in a stream of JSON lines, in the order they were solved.

    A line that is not one (a script can write to its own channel) is passed over.
    """
    return tuple(_valid(records))


def _valid(records: bytes) -> Iterator[Formulation]:
    for line in records.splitlines():
        try:
            yield Formulation.model_validate(_without_nonsense(json.loads(line)))
        except (ValidationError, ValueError, RecursionError):
            continue


def _without_nonsense(value: Any) -> Any:  # noqa: ANN401 -- what JSON holds
    """Returns the value; refuses numbers that JSON cannot carry on."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number")
    if isinstance(value, dict):
        return {key: _without_nonsense(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_nonsense(inner) for inner in value]
    return value
