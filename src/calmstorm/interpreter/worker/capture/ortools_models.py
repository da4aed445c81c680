# ruff: noqa: ANN401 -- objects of a library that may not be installed here
"""OR-Tools' linear interfaces: `pywraplp.Solver.Solve`, `model_builder.Solver.solve`, `mathopt.solve`."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from .notation import COEFFICIENTS_WORTH_READING, Model, Outcome, names, sides, terms, variables
from .recording import wrap

_PYWRAPLP_STATUS = ("Optimal", "Feasible", "Infeasible", "Unbounded", "Abnormal", "Model invalid", "Not solved")
_SOLVED = ("Optimal", "Feasible")
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
    named = names([each.name() for each in columns])
    every = range(len(columns))
    whole = len(columns) * len(rows) <= COEFFICIENTS_WORTH_READING  # each pair has to be asked for
    limited = []
    for index, row in enumerate(rows if whole else ()):
        left = terms(named, every, map(row.GetCoefficient, columns))
        limited += sides(row.name() or f"r{index}", left, row.Lb(), row.Ub())
    model = Model(
        source="ortools.pywraplp",
        sense="maximize" if objective.maximization() else "minimize",
        costs=terms(named, every, map(objective.GetCoefficient, columns)),
        offset=objective.offset(),
        variables=variables(
            named,
            [each.integer() for each in columns],
            [each.lb() for each in columns],
            [each.ub() for each in columns],
        ),
        constraints=limited,
        solver=str(solver.SolverVersion()).split(" [")[0],
        whole=whole,
    )
    answer = yield model
    status = _PYWRAPLP_STATUS[answer] if answer in range(len(_PYWRAPLP_STATUS)) else "Unknown"
    solved = status in _SOLVED  # to ask for values otherwise is logged
    yield Outcome(
        model,
        status=status,
        objective=objective.Value() if solved else None,
        values=[each.solution_value() for each in columns] if solved else None,
    )


def _model_builder(solver: Any, model: Any, *_arguments: Any, **_named: Any) -> Generator[Any, Any, None]:
    read = model.export_to_proto()
    columns = read.variable
    named = names([each.name for each in columns])
    whole = sum(len(row.var_index) for row in read.constraint) <= COEFFICIENTS_WORTH_READING
    limited = []
    for index, row in enumerate(read.constraint if whole else ()):
        left = terms(named, row.var_index, row.coefficient)
        limited += sides(row.name or f"r{index}", left, row.lower_bound, row.upper_bound)
    told = Model(
        source="ortools.model_builder",
        sense="maximize" if read.maximize else "minimize",
        costs=terms(named, range(len(columns)), [each.objective_coefficient for each in columns]),
        offset=read.objective_offset,
        variables=variables(
            named,
            [each.is_integer for each in columns],
            [each.lower_bound for each in columns],
            [each.upper_bound for each in columns],
        ),
        constraints=limited,
        whole=whole and {field.name for field, _ in read.ListFields()} <= _MODEL_BUILDER_LINEAR,
    )
    answer = yield told
    status = _words(answer.name)
    solved = status in _SOLVED
    yield Outcome(
        told,
        status=status,
        objective=solver.objective_value if solved else None,
        values=[solver.value(each) for each in model.get_variables()] if solved else None,
    )


def _mathopt(model: Any, solver_type: Any, **_named: Any) -> Generator[Any, Any, None]:
    read = model.export_model()
    ids = list(read.variables.ids)
    place = {key: index for index, key in enumerate(ids)}
    named = names(list(read.variables.names) or [""] * len(ids))
    entries, limits = read.linear_constraint_matrix, read.linear_constraints
    rows: dict[int, tuple[list[int], list[float]]] = {key: ([], []) for key in limits.ids}
    small = len(entries.coefficients) <= COEFFICIENTS_WORTH_READING
    for row, column, factor in zip(entries.row_ids, entries.column_ids, entries.coefficients, strict=True):
        rows[row][0].append(place[column])
        rows[row][1].append(factor)
    titles = list(limits.names) or [""] * len(rows)
    limited = []
    for index, (title, row_terms) in enumerate(zip(titles, rows.values(), strict=True) if small else ()):
        left = terms(named, *row_terms)
        limited += sides(title or f"r{index}", left, limits.lower_bounds[index], limits.upper_bounds[index])
    costs = read.objective.linear_coefficients
    used = {field.name for field, _ in read.ListFields()}
    told = Model(
        source="ortools.mathopt",
        sense="maximize" if read.objective.maximize else "minimize",
        costs=terms(named, [place[key] for key in costs.ids], costs.values),
        offset=read.objective.offset,
        variables=variables(
            named,
            list(read.variables.integers),
            list(read.variables.lower_bounds),
            list(read.variables.upper_bounds),
        ),
        constraints=limited,
        solver=str(solver_type.name),
        whole=small and used <= _MATHOPT_LINEAR and not len(read.objective.quadratic_coefficients.row_ids),
    )
    answer = yield told
    solved = answer.has_primal_feasible_solution()
    by_id = {each.id: value for each, value in answer.variable_values().items()} if solved else {}
    yield Outcome(
        told,
        status=_words(answer.termination.reason.name),
        objective=answer.objective_value() if solved else None,
        values=[by_id[key] for key in ids] if solved else None,
    )


def _mathopt_again(solver: Any, **_named: Any) -> Generator[Any, Any, None]:
    yield from _mathopt(solver._model, solver._solver_type)


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
