# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""OR-Tools' linear interfaces: `pywraplp.Solver.Solve`, `model_builder.Solver.solve`, `mathopt.solve`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from .matrices import check_size
from .models import SOLVED, Model, Outcome
from .recorder import wrap

_PYWRAPLP_STATUS = ("Optimal", "Feasible", "Infeasible", "Unbounded", "Abnormal", "Model invalid", "Not solved")
_MODEL_BUILDER_LINEAR = {"name", "variable", "constraint", "maximize", "objective_offset", "solution_hint"}
_MATHOPT_LINEAR = {"name", "variables", "objective", "linear_constraints", "linear_constraint_matrix"}
"""Parts of a model that a linear one consists of, in either interface."""


def wrap_pywraplp(module: Any) -> None:
    """Wraps the class's method."""
    wrap(module.Solver, "Solve", _pywraplp)


def wrap_model_builder(module: Any) -> None:
    """Wraps the class's method, under either of the names it has had."""
    for name in ("Solver", "ModelSolver"):
        if hasattr(module, name):
            wrap(getattr(module, name), "solve", _model_builder)


def wrap_mathopt(module: Any) -> None:
    """Wraps the function and the class's method."""
    wrap(module, "solve", _mathopt)
    wrap(module.IncrementalSolver, "solve", _mathopt_again)


def _pywraplp(solver: Any, *_arguments: Any) -> Generator[Any, Any, None]:
    columns, rows, objective = solver.variables(), solver.constraints(), solver.Objective()
    model = Model(
        "ortools.pywraplp",
        [(column.name(), column.integer(), column.lb(), column.ub()) for column in columns],
        enumerate(map(objective.GetCoefficient, columns)),
        maximize=objective.maximization(),
        offset=objective.offset(),
        solver=str(solver.SolverVersion()).split(" [")[0],
    )
    with model.without_rows_if_too_large():
        check_size(len(columns) * len(rows))  # each pair has to be asked for
        for row in rows:
            model.add_row(row.name(), enumerate(map(row.GetCoefficient, columns)), row.Lb(), row.Ub())
    answer = yield model
    status = _PYWRAPLP_STATUS[answer] if answer in range(len(_PYWRAPLP_STATUS)) else "Unknown"
    if status in SOLVED:  # to ask for values otherwise is logged
        yield Outcome(model, status, objective.Value(), [column.solution_value() for column in columns])
    else:
        yield Outcome(model, status)


def _model_builder(solver: Any, model: Any, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    read = model.export_to_proto()
    columns = read.variable
    record = Model(
        "ortools.model_builder",
        [(column.name, column.is_integer, column.lower_bound, column.upper_bound) for column in columns],
        enumerate(column.objective_coefficient for column in columns),
        maximize=read.maximize,
        offset=read.objective_offset,
        whole={field.name for field, _ in read.ListFields()} <= _MODEL_BUILDER_LINEAR,
    )
    with record.without_rows_if_too_large():
        check_size(sum(len(row.var_index) for row in read.constraint))
        for row in read.constraint:
            terms = zip(row.var_index, row.coefficient, strict=True)
            record.add_row(row.name, terms, row.lower_bound, row.upper_bound)
    answer = yield record
    status = _words(answer.name)
    if status in SOLVED:
        yield Outcome(
            record, status, solver.objective_value, [solver.value(column) for column in model.get_variables()]
        )
    else:
        yield Outcome(record, status)


def _mathopt(model: Any, solver_type: Any, **_named: Any) -> Generator[Any, Any, None]:
    read = model.export_model()
    columns, rows, costs = read.variables, read.linear_constraints, read.objective.linear_coefficients
    used = {field.name for field, _ in read.ListFields()}
    record = Model(
        "ortools.mathopt",
        zip(
            columns.names or [""] * len(columns.ids),
            columns.integers,
            columns.lower_bounds,
            columns.upper_bounds,
            strict=True,
        ),
        zip(costs.ids, costs.values, strict=True),
        maximize=read.objective.maximize,
        offset=read.objective.offset,
        solver=str(solver_type.name),
        keys=columns.ids,
        whole=used <= _MATHOPT_LINEAR and not len(read.objective.quadratic_coefficients.row_ids),
    )
    entries = read.linear_constraint_matrix
    with record.without_rows_if_too_large():
        check_size(len(entries.coefficients))
        terms: dict[int, tuple[list[int], list[float]]] = {key: ([], []) for key in rows.ids}
        for row, column, factor in zip(entries.row_ids, entries.column_ids, entries.coefficients, strict=True):
            terms[row][0].append(column)
            terms[row][1].append(factor)
        record.add_rows(list(terms.values()), rows.lower_bounds, rows.upper_bounds, rows.names)
    answer = yield record
    status = _words(answer.termination.reason.name)
    if answer.has_primal_feasible_solution():
        by_id = {column.id: value for column, value in answer.variable_values().items()}
        yield Outcome(record, status, answer.objective_value(), [by_id[key] for key in columns.ids])
    else:
        yield Outcome(record, status)


def _mathopt_again(solver: Any, **_named: Any) -> Generator[Any, Any, None]:
    yield from _mathopt(solver._model, solver._solver_type)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
