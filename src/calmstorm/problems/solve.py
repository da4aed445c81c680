"""Two independent solvers for a reference model: HiGHS through SciPy, CBC through PuLP."""

from __future__ import annotations

import math

import numpy as np
import pulp
from scipy.optimize import Bounds, LinearConstraint, milp

from calmstorm.records import Domain, LinearModel, Sense


def solve_with_highs(model: LinearModel) -> float | None:
    """Returns the optimal objective value, or None when there is no finite optimum."""
    sign = 1.0 if model.sense is Sense.MINIMIZE else -1.0
    matrix = np.array([row.coefficients for row in model.rows])
    lower = [row.bound if row.operator in (">=", "==") else -math.inf for row in model.rows]
    upper = [row.bound if row.operator in ("<=", "==") else math.inf for row in model.rows]
    result = milp(
        sign * np.array(model.costs),
        constraints=LinearConstraint(matrix, lower, upper),
        bounds=Bounds(0, [1.0 if domain is Domain.BINARY else math.inf for domain in model.domains]),
        integrality=np.array([domain is not Domain.CONTINUOUS for domain in model.domains], dtype=int),
    )
    return sign * float(result.fun) if result.status == 0 else None


def solve_with_cbc(model: LinearModel) -> float | None:
    """Returns the optimal objective value, or None when there is no finite optimum."""
    categories = {Domain.CONTINUOUS: "Continuous", Domain.INTEGER: "Integer", Domain.BINARY: "Binary"}
    program = pulp.LpProblem("reference", pulp.LpMinimize if model.sense is Sense.MINIMIZE else pulp.LpMaximize)
    columns = [pulp.LpVariable(f"v{i}", lowBound=0, cat=categories[domain]) for i, domain in enumerate(model.domains)]
    program += pulp.lpDot(model.costs, columns)
    for row in model.rows:
        left = pulp.lpDot(row.coefficients, columns)
        program += {"<=": left <= row.bound, ">=": left >= row.bound, "==": left == row.bound}[row.operator]
    program.solve(pulp.PULP_CBC_CMD(msg=0))
    return float(pulp.value(program.objective)) if pulp.LpStatus[program.status] == "Optimal" else None


def solvers_agree(model: LinearModel, tolerance: float = 1e-6) -> bool:
    """Whether both solvers find the same optimum, within a relative tolerance."""
    first, second = solve_with_highs(model), solve_with_cbc(model)
    if first is None or second is None:
        return first is None and second is None
    return abs(first - second) <= tolerance * max(1.0, abs(first))
