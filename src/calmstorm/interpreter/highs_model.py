"""Recorded formulations as models of HiGHS: to solve them again, and to write them as LP files."""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

import highspy
import numpy as np

from calmstorm.errors import InputError
from calmstorm.records import Domain, Formulation, Sense

_NAME_CHARACTERS = 200
"""The LP format allows 255."""
_LP_NAME = re.compile(
    r"(?!e\d|e$|max|min|subject|such|st|bound|free|inf|gen|int|bin|nan|semi|sos|end)[a-z_][a-z0-9_]*",
    re.IGNORECASE | re.ASCII,
)
"""Names that the LP format allows and that begin like none of its own words and like no exponent."""


def is_complete(formulation: Formulation) -> bool:
    """Whether a record is a whole model: nothing left out, and every name that is used is a listed variable, once."""
    listed = [variable.name for variable in formulation.variables]
    used = set(formulation.costs).union(*(row.coefficients for row in formulation.constraints))
    operators = {row.operator for row in formulation.constraints}
    return (
        not formulation.truncated
        and len(set(listed)) == len(listed)
        and used <= set(listed)
        and operators <= {"<=", ">=", "=="}
    )


def highs_model(formulation: Formulation) -> highspy.HighsLp:
    """Returns a complete record as a model of HiGHS, without names."""
    column = {variable.name: index for index, variable in enumerate(formulation.variables)}
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(column), len(formulation.constraints)
    model.sense_ = highspy.ObjSense.kMaximize if formulation.sense is Sense.MAXIMIZE else highspy.ObjSense.kMinimize
    model.offset_ = formulation.offset
    model.col_cost_ = np.array([formulation.costs.get(name, 0.0) for name in column], dtype=float)
    lower = [-math.inf if variable.lower is None else variable.lower for variable in formulation.variables]
    upper = [math.inf if variable.upper is None else variable.upper for variable in formulation.variables]
    model.col_lower_, model.col_upper_ = np.array(lower, dtype=float), np.array(upper, dtype=float)
    discrete, real = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
    model.integrality_ = [real if v.domain is Domain.CONTINUOUS else discrete for v in formulation.variables]
    rows = formulation.constraints
    model.row_lower_ = np.array([-math.inf if row.operator == "<=" else row.bound for row in rows], dtype=float)
    model.row_upper_ = np.array([math.inf if row.operator == ">=" else row.bound for row in rows], dtype=float)
    entries = [[(column[name], factor) for name, factor in row.coefficients.items()] for row in rows]
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.cumsum([0, *(len(row) for row in entries)], dtype=np.int32)
    model.a_matrix_.index_ = np.array([index for row in entries for index, _ in row], dtype=np.int32)
    model.a_matrix_.value_ = np.array([factor for row in entries for _, factor in row], dtype=float)
    return model


def lp_text(formulation: Formulation) -> str:
    """Returns a model in the LP file format that solvers read, as HiGHS writes it.

    Names are reduced to what the format allows. Variables that nothing uses and nothing bounds are left out.

    Raises:
        InputError: The record of the model is not complete.
    """
    if not is_complete(formulation):
        raise InputError("the model was not recorded whole, so there is no LP file of it; leave --save out")
    model = highs_model(formulation)
    model.col_names_ = _lp_names(variable.name for variable in formulation.variables)
    model.row_names_ = _lp_names(row.name for row in formulation.constraints)
    solver = highspy.Highs()
    solver.silent()
    solver.passModel(model)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.lp"
        solver.writeModel(str(path))
        return path.read_text(encoding="utf-8")


def _lp_names(names: Iterable[str]) -> list[str]:
    """Returns a distinct name that the LP format allows for each name."""
    allowed: dict[str, int] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)[:_NAME_CHARACTERS]
        plain = plain if _LP_NAME.fullmatch(plain) else f"v_{plain}"
        distinct = plain
        while distinct in allowed:
            allowed[plain] += 1
            distinct = f"{plain}_{allowed[plain]}"
        allowed[distinct] = 0
    return list(allowed)
