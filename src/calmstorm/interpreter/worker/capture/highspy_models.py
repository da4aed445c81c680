# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""highspy: `Highs.run` and `solve`; `minimize` and `maximize` call the latter."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

from .matrices import Row, TooLargeError, compressed, transposed
from .notation import Model, Outcome, names, sides, terms, variables
from .recording import wrap


def wrap_highspy(highspy: Any) -> None:
    """Wraps the class's methods."""
    for name in ("run", "solve"):
        wrap(highspy.Highs, name, _solve)


def _solve(solver: Any, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    highspy = sys.modules["highspy"]
    model = solver.getModel()
    program = model.lp_
    count = program.num_col_
    columns = names(_named_or_empty(program.col_names_, count))
    kinds = list(program.integrality_) or [highspy.HighsVarType.kContinuous] * count
    costs = program.col_cost_
    limited: list[str] = []
    try:
        lower, upper = list(program.row_lower_), list(program.row_upper_)
        titles = _named_or_empty(program.row_names_, len(lower))
        for index, row in enumerate(_rows(program, highspy)):
            limited += sides(titles[index] or f"r{index}", terms(columns, *row), lower[index], upper[index])
        whole = True
    except TooLargeError:
        limited, whole = [], False
    known = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    told = Model(
        source="highspy",
        sense="maximize" if program.sense_ == highspy.ObjSense.kMaximize else "minimize",
        costs=terms(columns, range(count), costs),
        offset=program.offset_,
        variables=variables(
            columns,
            [kind != highspy.HighsVarType.kContinuous for kind in kinds],
            list(program.col_lower_),
            list(program.col_upper_),
        ),
        constraints=limited,
        solver="HiGHS",
        whole=whole and not model.hessian_.dim_ and all(kind in known for kind in kinds),
    )
    yield told
    status = solver.modelStatusToString(solver.getModelStatus())
    optimal = status == "Optimal"
    yield Outcome(
        told,
        status=status,
        objective=solver.getInfo().objective_function_value if optimal else None,
        values=list(solver.getSolution().col_value) if optimal else None,
    )


def _named_or_empty(given: Any, count: int) -> list[str]:
    found = list(given)
    return found if len(found) == count else [""] * count


def _rows(program: Any, highspy: Any) -> list[Row]:
    matrix = program.a_matrix_
    read = compressed(matrix.start_, matrix.index_, matrix.value_)
    return transposed(read, program.num_row_) if matrix.format_ == highspy.MatrixFormat.kColwise else read
