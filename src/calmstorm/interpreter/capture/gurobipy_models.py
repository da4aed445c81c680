# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""gurobipy: `Model.optimize`."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

from .matrices import check_size
from .models import Model, Outcome
from .recorder import wrap

_INFINITY = 1e100
_NOT_LINEAR = ("IsQP", "IsQCP", "NumSOS", "NumGenConstrs", "NumPWLObjVars")
"""Attributes that are 0 for a model of linear constraints and a linear objective alone."""
_LINEAR_KINDS = "CBI"
_STATUS = {2: "Optimal", 3: "Infeasible", 4: "Infeasible or unbounded", 5: "Unbounded", 9: "Time limit"}


def wrap_gurobipy(gurobipy: Any) -> None:
    """Wraps the class's method."""
    wrap(gurobipy.Model, "optimize", _optimize)


def _optimize(model: Any, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    model.update()  # as optimize itself does first
    columns = model.getVars()
    names, kinds, lower, upper = (model.getAttr(name, columns) for name in ("VarName", "VType", "LB", "UB"))
    record = Model(
        "gurobipy",
        zip(names, [kind in "BIN" for kind in kinds], map(_bound, lower), map(_bound, upper), strict=True),
        enumerate(model.getAttr("Obj", columns)),
        maximize=model.ModelSense < 0,
        offset=model.ObjCon,
        solver="Gurobi",
        whole=model.NumObj <= 1
        and not any(getattr(model, name, 0) for name in _NOT_LINEAR)
        and all(kind in _LINEAR_KINDS for kind in kinds),
    )
    with record.without_rows_if_too_large():
        check_size(model.NumNZs)
        _add_rows(record, model)
    yield record
    status = _STATUS.get(model.Status) or _status_name(model.Status)
    if model.SolCount:
        yield Outcome(record, status, model.ObjVal, model.getAttr("X", columns))
    else:
        yield Outcome(record, status)


def _bound(value: float) -> float | None:
    return value if abs(value) < _INFINITY else None


def _add_rows(record: Model, model: Any) -> None:
    rows = model.getConstrs()
    attributes = [model.getAttr(name, rows) for name in ("ConstrName", "Sense", "RHS")]
    for row, name, sense, bound in zip(rows, *attributes, strict=True):
        left = model.getRow(row)
        terms = [(left.getVar(k).index, left.getCoeff(k)) for k in range(left.size())]
        record.add_row(name, terms, None if sense == "<" else bound, None if sense == ">" else bound)


def _status_name(number: int) -> str:
    """Returns Gurobi's own name of a status, as words."""
    known = sys.modules["gurobipy"].GRB.Status
    name = next((name for name in dir(known) if name.isupper() and getattr(known, name) == number), str(number))
    return name.replace("_", " ").capitalize()
