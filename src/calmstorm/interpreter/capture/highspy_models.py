# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""highspy: `Highs.run` and `solve`; `minimize` and `maximize` call the latter."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Generator
from typing import Any

from .matrices import Row, compressed, transposed
from .models import Model, Outcome
from .recorder import wrap


def wrap_highspy(highspy: Any) -> None:
    """Wraps the class's methods."""
    for name in ("run", "solve"):
        wrap(highspy.Highs, name, _solve)


def _solve(solver: Any, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    highspy = sys.modules["highspy"]
    continuous, integer = highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger
    model = solver.getModel()
    program = model.lp_
    kinds = list(program.integrality_) or [continuous] * program.num_col_
    record = Model(
        "highspy",
        zip(
            itertools.chain(program.col_names_, itertools.repeat("")),
            [kind != continuous for kind in kinds],
            program.col_lower_,
            program.col_upper_,
            strict=False,
        ),
        enumerate(program.col_cost_),
        maximize=program.sense_ == highspy.ObjSense.kMaximize,
        offset=program.offset_,
        solver="HiGHS",
        whole=not model.hessian_.dim_ and all(kind in (continuous, integer) for kind in kinds),
    )
    with record.without_rows_if_too_large():
        record.add_rows(_rows(program, highspy), program.row_lower_, program.row_upper_, program.row_names_)
    yield record
    status = solver.modelStatusToString(solver.getModelStatus())
    if status == "Optimal":
        yield Outcome(record, status, solver.getInfo().objective_function_value, list(solver.getSolution().col_value))
    else:
        yield Outcome(record, status)


def _rows(program: Any, highspy: Any) -> list[Row]:
    matrix = program.a_matrix_
    read = compressed(matrix.start_, matrix.index_, matrix.value_)
    return transposed(read, program.num_row_) if matrix.format_ == highspy.MatrixFormat.kColwise else read
