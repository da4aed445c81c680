"""Records the optimization models that a script gives to a solver.

The solve functions of the libraries are wrapped in the warm parent, or when a script imports one. In the script's
process each call appends JSON objects to a pipe of its own, the model before the solver starts and the outcome after
it answered, and nothing to what the script prints. A model too large for what is left of the pipe's budget is recorded
without its constraints, and one that is not linear without what is not, both marked `truncated`.

The record is what the script's process says. A script that wants to can say something else about itself (never about
another execution); `calmstorm.interpreter.verify` solves a record again and catches that.

Like `sandbox`, this package runs in the scripts' environment: it imports the standard library alone, and takes the
libraries that it reads from `sys.modules`.

    recorder.py      wraps a solve function and writes what it is given and what it answers
    import_hooks.py  wraps libraries when they are imported
    models.py        models and outcomes as JSON text
    matrices.py      coefficient matrices as rows
    *_models.py      how each library's models are read
"""

from . import (
    cp_sat_models,
    cvxpy_models,
    gurobipy_models,
    highspy_models,
    ortools_models,
    pulp_models,
    pyomo_models,
    scipy_models,
)
from .import_hooks import Wrap, wrap_on_import
from .recorder import Recorder, start

__all__ = ["Recorder", "install", "start"]

_MODULES: dict[str, Wrap] = {
    "pulp": pulp_models.wrap_pulp,
    "scipy.optimize": scipy_models.wrap_scipy,
    "highspy": highspy_models.wrap_highspy,
    "gurobipy": gurobipy_models.wrap_gurobipy,
    "cvxpy.reductions.solvers.solving_chain": cvxpy_models.wrap_chain,
    "cvxpy.problems.problem": cvxpy_models.wrap_problem,
    "ortools.linear_solver.pywraplp": ortools_models.wrap_pywraplp,
    "ortools.linear_solver.python.model_builder": ortools_models.wrap_model_builder,
    "ortools.math_opt.python.solve": ortools_models.wrap_mathopt,
    "ortools.sat.python.cp_model": cp_sat_models.wrap_cp_sat,
}
"""Where the solve functions are defined."""


def install() -> None:
    """Has the solve functions wrapped, of the libraries that are imported and of those that will be."""
    wrap_on_import(_wrap_for)


def _wrap_for(name: str) -> Wrap | None:
    return pyomo_models.wrap_pyomo if name.startswith(pyomo_models.PACKAGES) else _MODULES.get(name)
