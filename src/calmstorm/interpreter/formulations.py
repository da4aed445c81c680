"""Reads what a script's process reported about its models into records."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from calmstorm.records import Formulation

_Fields = dict[str, Any]


def parse(records: bytes) -> tuple[Formulation, ...]:
    """Returns the formulations in a stream of JSON lines, in the order they were given to a solver.

    A line is a model, or the outcome of the model with the same serial number. A line that is neither (a script can
    write to its own channel) is passed over, and so is the outcome of a model that was not recorded.
    """
    models: dict[str | int, _Fields] = {}
    for line in records.splitlines():
        fields = _fields(line)
        serial = fields.pop("serial", None)
        if "source" in fields:
            models[serial if isinstance(serial, str) else len(models)] = fields
        elif isinstance(serial, str) and serial in models:
            _add_outcome(models[serial], fields)
    return tuple(filter(None, map(_formulation, models.values())))


def _fields(line: bytes) -> _Fields:
    try:
        value = from_json(line, allow_inf_nan=False)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _add_outcome(model: _Fields, outcome: _Fields) -> None:
    model.update(solver_status=outcome.get("solver_status"), objective=outcome.get("objective"))
    variables, values = model.get("variables"), outcome.get("values")
    if isinstance(variables, list) and isinstance(values, list) and len(variables) == len(values):
        for variable, value in zip(variables, values, strict=True):
            if isinstance(variable, dict):
                variable["value"] = value


def _formulation(fields: _Fields) -> Formulation | None:
    try:
        return Formulation.model_validate(fields)
    except (ValidationError, RecursionError):
        return None
