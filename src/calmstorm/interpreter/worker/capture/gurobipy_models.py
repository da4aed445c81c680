# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""gurobipy: `Model.optimize`."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import Any

from .notation import COEFFICIENTS_WORTH_READING, Model, Outcome, names, sides, terms, variables
from .recording import wrap

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
    columns, rows = model.getVars(), model.getConstrs()
    named = names(model.getAttr("VarName", columns))
    kinds = model.getAttr("VType", columns)
    small = model.NumNZs <= COEFFICIENTS_WORTH_READING
    told = Model(
        source="gurobipy",
        sense="maximize" if model.ModelSense < 0 else "minimize",
        costs=terms(named, range(len(columns)), model.getAttr("Obj", columns)),
        offset=model.ObjCon,
        variables=variables(
            named,
            [kind in "BIN" for kind in kinds],
            [None if bound <= -_INFINITY else bound for bound in model.getAttr("LB", columns)],
            [None if bound >= _INFINITY else bound for bound in model.getAttr("UB", columns)],
        ),
        constraints=_constraints(model, rows, columns, named) if small else [],
        solver="Gurobi",
        whole=small
        and model.NumObj <= 1
        and not any(getattr(model, name, 0) for name in _NOT_LINEAR)
        and all(kind in _LINEAR_KINDS for kind in kinds),
    )
    yield told
    status = _STATUS.get(model.Status) or _status_name(model.Status)
    yield Outcome(
        told,
        status=status,
        objective=model.ObjVal if model.SolCount else None,
        values=model.getAttr("X", columns) if model.SolCount else None,
    )


def _constraints(model: Any, rows: Any, columns: Any, named: list[str]) -> list[str]:
    found = []
    for row, name, sense, bound in zip(
        rows,
        model.getAttr("ConstrName", rows),
        model.getAttr("Sense", rows),
        model.getAttr("RHS", rows),
        strict=True,
    ):
        left = model.getRow(row)
        size = range(left.size())
        text = terms(named, [left.getVar(k).index for k in size], [left.getCoeff(k) for k in size])
        low, high = (None if sense == "<" else bound), (None if sense == ">" else bound)
        found += sides(name, text, low, high)
    return found


def _status_name(number: int) -> str:
    """Returns Gurobi's own name of a status, as words."""
    known = sys.modules["gurobipy"].GRB.Status
    name = next((name for name in dir(known) if name.isupper() and getattr(known, name) == number), str(number))
    return name.replace("_", " ").capitalize()
