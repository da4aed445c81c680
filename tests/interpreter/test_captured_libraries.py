"""Every library whose solves are recorded: what is recorded is true, and the script does not notice.

Each library gets the same models, as far as it can say them:

    LP     max 3x + 2y + 7,  x + y <= 5.5,  1 <= x - y <= 3,  0 <= x <= 4,  y free              22 at x = 4, y = 1.5
    MILP   min 2a + 3b - c + 1,  a + 2b + c >= 3.3,  a - c >= -1,  a in -3..10, b in 0..1, 0 <= c <= 2.5    2.5
    none   0 <= x <= 1 with x >= 2
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from calmstorm.interpreter import Doubt, Formulation, Interpreter, formulations, lp_text, verify
from calmstorm.interpreter.parent_client import LOAD_SANDBOX
from calmstorm.records import Domain, Sense

HARNESS = """
import importlib, os, sys
records, before = sys.argv[1:]
del sys.argv[1:]
if before:
    importlib.import_module(before)
if records:
    exec(LOAD_SANDBOX)
    from calmstorm_sandbox import capture
    capture.install()
    capture.start(capture.Recorder(os.open(records, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1 << 21))
exec(compile(sys.stdin.read(), "script.py", "exec"), {"__name__": "__main__"})
""".replace("LOAD_SANDBOX", repr(LOAD_SANDBOX))
NOTICING = """
import inspect, sys, traceback, warnings
warnings.simplefilter("always")
def noticed(solve, *arguments, **named):
    print(solve.__name__, solve.__qualname__, solve.__module__, inspect.signature(solve), (solve.__doc__ or "")[:60])
    try:
        solve(*arguments, **named)
    except BaseException:
        traceback.print_exc()
"""

STANDARD = {name.encode() for name in sys.stdlib_module_names}

PULP = """
import pulp
def lp(solver):
    p = pulp.LpProblem("lp", pulp.LpMaximize)
    x, y = pulp.LpVariable("x", 0, 4), pulp.LpVariable("y")
    p += 3 * x + 2 * y + 7
    p += x + y <= 5.5, "labor"
    p += x - y >= 1
    p += x - y <= 3
    print(p.solve(solver), p.objective.value(), [(v.name, v.varValue) for v in p.variables()], p.constraints.keys())
    return p
pulp.LpSolverDefault.msg = 0
lp(None)
lp(pulp.HiGHS(msg=False))
p = pulp.LpProblem("milp", pulp.LpMinimize)
a, b = pulp.LpVariable("a", -3, 10, cat="Integer"), pulp.LpVariable("b", cat="Binary")
c = pulp.LpVariable("c", 0, 2.5)
p += 2 * a + 3 * b - c + 1
p += a + 2 * b + c >= 3.3
p += a - c >= -1
print(p.solve(pulp.PULP_CBC_CMD(msg=0)), pulp.value(p.objective))
p.solve(pulp.HiGHS(msg=False, mip=False))
q = pulp.LpProblem("none")
x = pulp.LpVariable("x", 0, 1)
q += x >= 2
print(pulp.LpStatus[q.solve(pulp.HiGHS(msg=False))])
r = pulp.LpProblem("several", pulp.LpMaximize)
x, y = pulp.LpVariable("x", 0, 3), pulp.LpVariable("y", 0, 3)
r += x + 2 * y <= 5
print(r.sequentialSolve([x + y, y - x], solver=pulp.HiGHS(msg=False)), x.value(), y.value(), len(r.constraints))
noticed(pulp.LpProblem.solve, r, "no solver")
"""
SCIPY = """
import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csc_array, csr_array
rows = csr_array([[1, 1], [-1, 1], [1, -1], [0, 0]])
print(linprog([-3, -2], A_ub=rows, b_ub=[5.5, -1, 3, 9], bounds=[(0, 4), (None, None)]))
m = milp([2, 3, -1], integrality=[1, 1, 0], bounds=Bounds([-3, 0, 0], [10, 1, 2.5]),
         constraints=LinearConstraint(csc_array([[1, 2, 1], [1, 0, -1]]), [3.3, -1], np.inf))
print(m.fun, m.x, m.message)
print(linprog([1], bounds=(0, 1), A_ub=[[-1]], b_ub=[-2]).status)
print(milp([1, 1], integrality=[2, 0], bounds=(1, 3), constraints=([[1, 1]], 2, 4)).fun)
print(linprog([1, 2], A_eq=[[1, 1]], b_eq=[2], method="highs-ds", options={"nonsense": 1}).x)
noticed(linprog, [1, 2], A_ub=[[1]], b_ub=[1])
noticed(milp, [1, 2], bounds=3)
"""
HIGHSPY = """
import highspy
h = highspy.Highs()
h.silent()
x, y = h.addVariable(0, 4), h.addVariable(-highspy.kHighsInf)
h.addConstr(x + y <= 5.5)
h.addConstr(1 <= x - y <= 3)
print(h.maximize(3 * x + 2 * y + 7), h.getObjectiveValue(), list(h.getSolution().col_value))
h = highspy.Highs()
h.silent()
a, b, c = h.addIntegral(-3, 10, name="a"), h.addBinary(name="b"), h.addVariable(0, 2.5, name="c")
h.addConstr(a + 2 * b + c >= 3.3)
h.addConstr(a - c >= -1)
print(h.minimize(2 * a + 3 * b - c + 1), h.getObjectiveValue())
h = highspy.Highs()
h.silent()
x = h.addVariable(0, 1)
h.addConstr(x >= 2)
print(h.run(), h.modelStatusToString(h.getModelStatus()))
noticed(highspy.Highs.solve, 3)
"""
PYOMO = """
import pyomo.environ as pyo
from pyomo.contrib.appsi.solvers import Highs
from pyomo.contrib.solver.common.factory import SolverFactory
def lp():
    m = pyo.ConcreteModel()
    m.x, m.y, m.f = pyo.Var(bounds=(0, 4)), pyo.Var(), pyo.Var()
    m.f.fix(3.5)
    m.price = pyo.Param(initialize=3, mutable=True)
    m.goal = pyo.Objective(expr=m.price * m.x + 2 * m.y + 2 * m.f, sense=pyo.maximize)
    m.labor = pyo.Constraint(expr=m.x + m.y + 2 <= m.f + 4)
    m.range = pyo.Constraint(expr=(1, m.x - m.y, 3))
    m.off = pyo.Constraint(expr=m.x <= 1)
    m.off.deactivate()
    return m
m = lp()
print(pyo.SolverFactory("appsi_highs").solve(m).solver.termination_condition, m.x.value, m.y.value)
print(pyo.SolverFactory("highs").solve(m, load_solutions=False).solver.termination_condition)
print(Highs().solve(lp()).best_feasible_objective, SolverFactory("highs").solve(lp()).incumbent_objective)
m = pyo.ConcreteModel()
m.v = pyo.Var(["a", "b", "c"])
m.v["a"].domain, m.v["b"].domain = pyo.Integers, pyo.Binary
m.v["a"].setlb(-3); m.v["a"].setub(10); m.v["c"].setlb(0); m.v["c"].setub(2.5)
m.cost = pyo.Objective(expr=2 * m.v["a"] + 3 * m.v["b"] - m.v["c"] + 1)
m.need = pyo.ConstraintList()
m.need.add(m.v["a"] + 2 * m.v["b"] + m.v["c"] >= 3.3)
m.need.add(m.v["c"] <= m.v["a"] + 1)
print(pyo.SolverFactory("appsi_highs").solve(m).solver.status, pyo.value(m.cost))
m = pyo.ConcreteModel()
m.x = pyo.Var(bounds=(0, 1))
m.o = pyo.Objective(expr=m.x)
m.c = pyo.Constraint(expr=m.x >= 2)
for solver in (pyo.SolverFactory("appsi_highs"), SolverFactory("highs")):
    try:
        solver.solve(m)
    except Exception as error:
        print(type(error))
m.del_component(m.c)
m.square = pyo.Constraint(expr=m.x**2 <= 0.25)
m.line = pyo.Constraint(expr=m.x >= 0.1)
noticed(pyo.SolverFactory("appsi_highs").solve, m)
from pyomo.gdp import Disjunct, Disjunction
m = pyo.ConcreteModel()
m.x = pyo.Var(bounds=(0, 10))
m.low, m.high = Disjunct(), Disjunct()
m.low.limit, m.high.limit = pyo.Constraint(expr=m.x <= 3), pyo.Constraint(expr=m.x >= 5)
m.either = Disjunction(expr=[m.low, m.high])
m.o = pyo.Objective(expr=4 - m.x)
solvers = {"mip_solver": "appsi_highs", "nlp_solver": "appsi_highs"}
print(pyo.SolverFactory("gdpopt.loa").solve(m, **solvers).solver.termination_condition, m.x.value)
"""
PYWRAPLP = """
from ortools.linear_solver import pywraplp
s = pywraplp.Solver.CreateSolver("GLOP")
x, y = s.NumVar(0, 4, "x"), s.NumVar(-s.infinity(), s.infinity(), "y")
s.Add(x + y <= 5.5, "labor")
row = s.RowConstraint(1, 3, "range")
row.SetCoefficient(x, 1)
row.SetCoefficient(y, -1)
s.Maximize(3 * x + 2 * y + 7)
print(s.Solve(), s.Objective().Value(), x.solution_value(), y.solution_value())
s = pywraplp.Solver.CreateSolver("SCIP")
a, b, c = s.IntVar(-3, 10, "a"), s.BoolVar("b"), s.NumVar(0, 2.5, "c")
s.Add(a + 2 * b + c >= 3.3)
s.Add(a - c >= -1)
s.Minimize(2 * a + 3 * b - c + 1)
print(s.Solve(pywraplp.MPSolverParameters()), s.Objective().Value())
s = pywraplp.Solver.CreateSolver("CBC")
x = s.IntVar(0, 1, "")
s.Add(x >= 2)
print(s.Solve())
noticed(pywraplp.Solver.Solve, 3)
"""
MODEL_BUILDER = """
from ortools.linear_solver.python import model_builder
inf = float("inf")
m = model_builder.Model()
x, y = m.new_num_var(0, 4, "x"), m.new_num_var(-inf, inf, "y")
m.add(x + y <= 5.5, "labor")
m.add_linear_constraint(x - y, 1, 3)
m.maximize(3 * x + 2 * y + 7)
s = model_builder.Solver("glop")
print(s.solve(m), s.objective_value, s.value(x))
m = model_builder.Model()
a, b, c = m.new_int_var(-3, 10, "a"), m.new_bool_var("b"), m.new_num_var(0, 2.5, "c")
m.add(a + 2 * b + c >= 3.3)
m.add(a - c >= -1)
m.minimize(2 * a + 3 * b - c + 1)
s = model_builder.Solver("scip")
print(s.solve(m), s.objective_value)
m = model_builder.Model()
x = m.new_int_var(0, 1, "x")
m.add(x >= 2)
print(model_builder.Solver("scip").solve(m))
m = model_builder.Model()
x, b = m.new_int_var(0, 5, "x"), m.new_bool_var("b")
m.add_enforced(x <= 2, b, True)
m.maximize(x + b)
print(s.solve(m), m.export_to_proto())
noticed(model_builder.Solver.solve, s, None)
"""
MATHOPT = """
from ortools.math_opt.python import mathopt
m = mathopt.Model(name="lp")
x, y = m.add_variable(lb=0, ub=4, name="x"), m.add_variable(name="y")
gone = m.add_variable(name="gone")
m.add_linear_constraint(x + y <= 5.5, name="labor")
m.add_linear_constraint(lb=1, ub=3, expr=x - y)
m.delete_variable(gone)
z = m.add_binary_variable(name="z")
m.maximize(3 * x + 2 * y + 7 - z)
r = mathopt.solve(m, mathopt.SolverType.GSCIP)
print(r.termination.reason, r.objective_value(), r.variable_values()[x])
m = mathopt.Model()
a, b = m.add_integer_variable(lb=-3, ub=10, name="a"), m.add_binary_variable(name="b")
c = m.add_variable(lb=0, ub=2.5, name="c")
m.add_linear_constraint(a + 2 * b + c >= 3.3)
m.add_linear_constraint(a - c >= -1)
m.minimize(2 * a + 3 * b - c + 1)
with mathopt.IncrementalSolver(m, mathopt.SolverType.GSCIP) as s:
    print(s.solve().objective_value())
m = mathopt.Model()
x = m.add_integer_variable(lb=0, ub=1)
m.add_linear_constraint(x >= 2)
print(mathopt.solve(m, mathopt.SolverType.GSCIP).termination.reason)
m = mathopt.Model()
x = m.add_variable(lb=-1, ub=1)
m.minimize(x * x + x)
print(mathopt.solve(m, mathopt.SolverType.GSCIP).has_primal_feasible_solution())
noticed(mathopt.solve, None, None)
"""
CP_SAT = """
from ortools.sat.python import cp_model
def solved(m):
    before = str(m.proto)
    s = cp_model.CpSolver()
    s.parameters.num_workers = 1
    print(s.solve(m), s.objective_value, list(s.response_proto.solution), str(m.proto) == before)
m = cp_model.CpModel()
x, y = m.new_int_var(0, 4, "x"), m.new_int_var(-9, 9, "y")
m.add(x + y <= 5)
m.add_linear_constraint(x - y, 1, 3)
m.maximize(3 * x + 2 * y + 7)
solved(m)
m = cp_model.CpModel()
a, b, c = m.new_int_var(-3, 10, "a"), m.new_bool_var("b"), m.new_int_var(0, 2, "c")
m.add(a + 2 * b + c >= 4)
m.add(a - c >= -1)
m.minimize(2.5 * a + 3 * b - c + 1)
solved(m)
m = cp_model.CpModel()
x = m.new_int_var(0, 1, "")
m.add(x >= 2)
solved(m)
m = cp_model.CpModel()
p, q, r = (m.new_bool_var(name) for name in "pqr")
m.add_at_most_one([p, q, ~r])
m.add_bool_or([q, r])
m.add_implication(q, ~p)
m.add_exactly_one([p, q, r])
m.add_bool_or([~p, ~r]).only_enforce_if([q, r])
m.maximize(5 * p + 4 * q + r)
solved(m)
m.add(p + q <= 1).only_enforce_if(r)
solved(m)
m = cp_model.CpModel()
x, y = m.new_int_var_from_domain(cp_model.Domain.from_values([0, 2, 7]), "x"), m.new_int_var(0, 9, "y")
m.add(x + y <= 8)
m.maximize(x + y)
solved(m)
m = cp_model.CpModel()
x, y = m.new_int_var(0, 2, "x"), m.new_int_var(0, 2, "y")
m.add_all_different([x, y])
m.maximize(x + y)
solved(m)
noticed(cp_model.CpSolver.solve, cp_model.CpSolver(), 3)
"""
CVXPY = """
import cvxpy as cp
import numpy as np
x, y = cp.Variable(name="x", nonneg=True), cp.Variable(name="y")
price = cp.Parameter(value=3.0)
lp = cp.Problem(cp.Maximize(price * x + 2 * y + 7), [x + y <= 5.5, x <= 4, x - y >= 1, x - y <= 3])
for solver in (cp.HIGHS, cp.SCIPY, cp.CLARABEL):
    print(round(lp.solve(solver=solver), 6), lp.status, np.round(x.value, 6), lp.solver_stats.solver_name)
price.value = 1.0
print(round(lp.solve(solver=cp.HIGHS), 6))
a, b, c = cp.Variable(integer=True, name="a"), cp.Variable(boolean=True, name="b"), cp.Variable((2, 2), name="c")
cost = 2 * a + 3 * b - c[0, 1] + 1 + cp.max(cp.abs(c[1]))
rows = [a + 2 * b + c[0, 1] >= 3.3, a - c[0, 1] >= -1]
milp = cp.Problem(cp.Minimize(cost), [a >= -3, a <= 10, c >= 0, c <= 2.5, *rows])
print(milp.solve(solver=cp.HIGHS), b.value, c.value[0, 1])
none = cp.Problem(cp.Minimize(x), [x <= 1, x >= 2])
print(none.solve(solver=cp.HIGHS), none.status)
square = cp.Problem(cp.Minimize(cp.square(x - 1) + y), [y >= 2])
print(round(square.solve(solver=cp.CLARABEL), 4))
cone = cp.Problem(cp.Minimize(cp.norm(cp.hstack([x, y]))), [x + y == 2])
print(round(cone.solve(solver=cp.CLARABEL), 4))
noticed(lp.solve, solver="NONESUCH")
noticed(cp.Problem(cp.Minimize(-x**2)).solve)
"""
GUROBIPY = """
import gurobipy as gp
env = gp.Env(params={"OutputFlag": 0})
m = gp.Model(env=env)
x, y = m.addVar(ub=4, name="x"), m.addVar(lb=-gp.GRB.INFINITY, name="y")
m.addConstr(x + y <= 5.5, "labor")
m.addRange(x - y, 1, 3)
m.setObjective(3 * x + 2 * y + 7, gp.GRB.MAXIMIZE)
m.optimize()
print(m.Status, m.ObjVal, x.X, y.X)
m = gp.Model(env=env)
a, b, c = m.addVar(-3, 10, vtype="I", name="a"), m.addVar(vtype="B", name="b"), m.addVar(0, 2.5, name="c")
m.addConstr(a + 2 * b + c >= 3.3, "need")
m.addConstr(a - c >= -1, "need")
m.setObjective(2 * a + 3 * b - c + 1)
m.optimize()
print(m.ObjVal)
m = gp.Model(env=env)
m.addConstr(m.addVar(ub=1) >= 2)
m.optimize()
print(m.Status)
m = gp.Model(env=env)
x = m.addVar(ub=3)
m.setObjective(x * x - x)
m.optimize()
m = gp.Model(env=env)
x, y = m.addVar(ub=3), m.addVar()
m.addGenConstrAbs(y, x)
m.optimize(lambda model, where: None)
print(m.Status)
noticed(gp.Model.optimize, m, 3, 4)
"""


@dataclass(frozen=True)
class Library:
    """A library, a script that uses it, and what is to be recorded of that."""

    module: str
    source: str
    """What records name it."""
    script: str
    expected: tuple[tuple[str, float | None], ...]
    """Status and objective of each solve; a status that ends in `*` is of a model that cannot be told whole."""


LP, MILP, NONE = ("Optimal", 22.0), ("Optimal", 2.5), ("Infeasible", None)
LIBRARIES = (
    Library("pulp", "pulp", PULP, (LP, LP, MILP, ("Optimal", 1.15), NONE, ("Optimal", -2.0), ("Not solved", None))),
    Library("scipy.optimize", "scipy", SCIPY,
            (("Optimal", -15.0), ("Optimal", 1.5), NONE, ("Optimal*", 2.0), ("Optimal", 2.0),
             ("Not solved", None))),
    Library("highspy", "highspy", HIGHSPY, (LP, MILP, NONE)),
    Library("pyomo", "pyomo", PYOMO, (LP, LP, LP, LP, MILP, NONE, NONE, ("Not solved*", None), ("Optimal*", -6.0))),
    Library("ortools.linear_solver.pywraplp", "ortools.pywraplp", PYWRAPLP, (LP, MILP, NONE)),
    Library("ortools.linear_solver.python.model_builder", "ortools.model_builder", MODEL_BUILDER,
            (LP, MILP, NONE, ("Optimal*", 5.0))),
    Library("ortools.math_opt.python.mathopt", "ortools.mathopt", MATHOPT, (LP, MILP, NONE, ("Optimal*", -0.25))),
    Library("ortools.sat.python.cp_model", "ortools.cp_sat", CP_SAT,
            (("Optimal", 21.0), ("Optimal", 4.0), NONE, ("Optimal", 1.0), ("Optimal*", 1.0), ("Optimal*", 8.0),
             ("Optimal*", 3.0))),
    Library("cvxpy", "cvxpy", CVXPY,
            (LP, LP, LP, ("Optimal", 14.75), MILP, NONE, ("Optimal*", 2.0), ("Optimal*", 2**0.5))),
    Library("gurobipy", "gurobipy", GUROBIPY, (LP, MILP, NONE, ("Optimal*", -0.25), ("Optimal*", 0.0),
             ("Not solved*", None))),
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    stdout: bytes
    stderr: bytes
    formulations: tuple[Formulation, ...]


def run(script: str, records: Path | None, before: str = "") -> Run:
    """Runs a script in a process of its own, with and without capture."""
    command = [sys.executable, "-c", HARNESS, str(records or ""), before]
    done = subprocess.run(command, input=script.encode(), capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    recorded = formulations.parse(records.read_bytes()) if records is not None and records.exists() else ()
    return Run(done.stdout, done.stderr, recorded)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module.partition(".")[0]) is not None


@pytest.fixture(scope="module", params=LIBRARIES, ids=[library.source for library in LIBRARIES])
def library(request: pytest.FixtureRequest) -> Library:
    if not installed(request.param.module):
        pytest.skip(f"{request.param.module} is not installed; it is in the extra `solvers` or `gurobi`")
    return request.param


@pytest.fixture(scope="module")
def captured(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(NOTICING + library.script, tmp_path_factory.mktemp("records") / "records.jsonl")


def test_script_prints_the_same_with_and_without_capture(library: Library, captured: Run) -> None:
    plain = run(NOTICING + library.script, None)
    assert captured.stdout == plain.stdout
    assert captured.stderr == plain.stderr
    assert b"Traceback" in plain.stderr, "the script is to show what a traceback looks like"


def test_each_solve_is_recorded_once_as_the_library_reports_it(library: Library, captured: Run) -> None:
    recorded = [(model.solver_status + "*" * model.truncated, model.objective) for model in captured.formulations]
    assert [status for status, _ in recorded] == [status for status, _ in library.expected], captured.stderr.decode()
    for (_, objective), (_, expected) in zip(recorded, library.expected, strict=True):
        assert objective == (None if expected is None else pytest.approx(expected, abs=1e-6))
    assert all(model.source.startswith(library.source) for model in captured.formulations)


def test_records_of_linear_models_hold_and_others_say_that_they_are_not_whole(captured: Run) -> None:
    for model in captured.formulations:
        assert verify(model).doubts == ((Doubt.INCOMPLETE,) if model.truncated else ())


def test_directions_and_values_are_recorded(library: Library, captured: Run) -> None:
    optimal = [model for model in captured.formulations if model.solver_status == "Optimal" and not model.truncated]
    for model in optimal:  # Pyomo can be told to leave the values out
        known = {variable.value is not None for variable in model.variables}
        assert known == {True} or (known == {False} and library.source == "pyomo" and model is not optimal[0])
    senses = {model.sense for model in captured.formulations}
    assert senses == ({Sense.MINIMIZE} if library.source == "scipy" else {Sense.MAXIMIZE, Sense.MINIMIZE})
    domains = {variable.domain for model in captured.formulations for variable in model.variables}
    assert domains == set(Domain) - ({Domain.CONTINUOUS} if library.source == "ortools.cp_sat" else set())


def test_forged_objective_and_status_are_caught(captured: Run) -> None:
    true = next(model for model in captured.formulations if model.solver_status == "Optimal" and not model.truncated)
    assert true.objective is not None
    assert Doubt.OBJECTIVE in verify(true.model_copy(update={"objective": true.objective + 1})).doubts
    assert verify(true.model_copy(update={"solver_status": "Infeasible"})).doubts == (Doubt.STATUS,)


def test_lp_text_reads_back_to_the_same_optimum(captured: Run, tmp_path: Path) -> None:
    import highspy

    for model in captured.formulations:
        if not model.truncated:
            path = tmp_path / "model.lp"
            path.write_text(lp_text(model), encoding="utf-8")
            solver = highspy.Highs()
            solver.silent()
            assert solver.readModel(str(path)) != highspy.HighsStatus.kError
            solver.run()
            optimum = verify(model).objective
            assert (solver.modelStatusToString(solver.getModelStatus()) == "Optimal") is (optimum is not None)
            if optimum is not None:
                assert solver.getInfo().objective_function_value == pytest.approx(optimum, abs=1e-6)


@pytest.mark.parametrize(
    "text", ["raise ValueError('no licence')", "import nonsuch", "Model = Highs = 3", "class Model: pass", "1 +"]
)
def test_import_of_an_odd_library_is_as_it_would_be_without_capture(text: str, tmp_path: Path) -> None:
    for name in ("gurobipy", "highspy"):
        (tmp_path / f"{name}.py").write_text(text)
    script = f"""
import importlib, importlib.util, sys, traceback
sys.path.insert(0, {str(tmp_path)!r})
for name in ("gurobipy", "highspy"):
    for load in (importlib.import_module, __import__, lambda name: importlib.reload(sys.modules[name])):
        try:
            module = load(name)
            print(sorted(vars(module)), module.__spec__, sorted(vars(module.__loader__)))
        except Exception:
            traceback.print_exc()
    print(importlib.util.find_spec(name) is not None)
print(importlib.util.find_spec("nonsuch"))
"""
    captured, plain = run(script, tmp_path / "records.jsonl"), run(script, None)
    assert without_addresses(captured.stdout) == without_addresses(plain.stdout)
    assert captured.stderr == plain.stderr


def without_addresses(output: bytes) -> bytes:
    return re.sub(rb"0x[0-9a-f]+", b"0x", output)


@pytest.mark.parametrize("module", ["gurobipy", "highspy", "pulp", "pyomo.opt"])
def test_capture_has_no_library_import_another(module: str, tmp_path: Path) -> None:
    if not installed(module):
        pytest.skip(f"{module} is not installed; it is in the extra `solvers` or `gurobi`")
    names = "{name for name in sys.modules if name.partition('.')[0] != 'calmstorm_sandbox'}"
    script = f"import sys, {module}\nprint(*sorted({names}), sep='\\n')"
    captured, plain = run(script, tmp_path / "records.jsonl"), run(script, None)
    extra = set(captured.stdout.split()) - set(plain.stdout.split())
    assert {name.partition(b".")[0] for name in extra} <= STANDARD


@pytest.mark.parametrize("module", ["scipy.optimize", "pulp", "highspy", "pyomo.environ", "gurobipy"])
def test_library_that_was_imported_before_is_recorded_as_well(module: str, tmp_path: Path) -> None:
    if not installed(module):
        pytest.skip(f"{module} is not installed; it is in the extra `solvers` or `gurobi`")
    library = next(library for library in LIBRARIES if library.module.partition(".")[0] == module.partition(".")[0])
    recorded = run(NOTICING + library.script, tmp_path / "records.jsonl", before=module).formulations
    assert [model.objective for model in recorded] == pytest.approx([objective for _, objective in library.expected])


def test_libraries_that_a_sealed_script_imports_itself_are_recorded(any_tier: str) -> None:
    chosen = [library for library in LIBRARIES if library.source in ("pyomo", "cvxpy", "gurobipy", "ortools.cp_sat")]
    wanted = [library for library in chosen if installed(library.module)]
    if not wanted:
        pytest.skip(
            "none of pyomo, cvxpy, gurobipy and ortools is installed; they are in the extras `solvers` and `gurobi`"
        )
    # not highspy: its libhighs and that of OR-Tools do not go together
    with Interpreter(workers=1, tier=any_tier, preload=(("numpy",),)) as interpreter:
        for library in wanted:
            execution = interpreter.run(NOTICING + library.script)
            assert execution.status == "ok", execution.stderr
            recorded = [model.solver_status for model in execution.formulations]
            assert recorded == [status.rstrip("*") for status, _ in library.expected]
