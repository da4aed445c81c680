"""What is recorded of the models that scripts solve, and that nothing shows of it."""

from __future__ import annotations

import json
import textwrap

import pytest

from calmstorm.interpreter import Execution, Formulation, Interpreter, Limits, formulations, verify
from calmstorm.records import Domain, Sense

LINPROG = """
import numpy as np
from scipy.optimize import linprog
r = linprog([-3.0, -5.0], A_ub=[[2, 3], [0, 2]], b_ub=[8, 10], A_eq=[[1, 1]], b_eq=[3], bounds=[(0, None), (0, 2)])
print(r.status, round(-r.fun, 4))
"""
MILP = """
from scipy.optimize import Bounds, LinearConstraint, milp
r = milp([-1, -2], constraints=LinearConstraint([[1, 1], [1, -1]], [1, -5], [3.5, 5]), integrality=[1, 0],
         bounds=Bounds(0, [1, 9]))
print(r.status, r.fun)
"""
PULP = """
import pulp
p = pulp.LpProblem("plan", pulp.LpMaximize)
x = pulp.LpVariable("x", 0, 4, cat="Integer")
y = pulp.LpVariable("y", lowBound=0)
b = pulp.LpVariable("b", cat="Binary")
p += 3 * x + 2 * y + b + 7
p += x + y <= 5.5, "labor"
p += y - 3 * b >= -1, "link"
p += x + 2 * y == 6
p.solve({solver})
print(pulp.LpStatus[p.status], round(pulp.value(p.objective), 6))
"""
HIGHS = """
import highspy
h = highspy.Highs()
h.silent()
x = h.addVariable(0, 4)
y = h.addIntegral(0, 3)
h.addConstr(x + 2 * y <= 7)
h.maximize(3 * x + 4 * y)
print(round(h.getObjectiveValue(), 6))
"""


@pytest.fixture(scope="module")
def opened(any_tier: str):
    with Interpreter(workers=1, tier=any_tier) as interpreter:
        yield interpreter


def only(execution: Execution) -> Formulation:
    assert execution.status == "ok", execution.stderr
    assert len(execution.formulations) == 1
    return execution.formulations[0]


@pytest.mark.parametrize("solver", ["", "pulp.PULP_CBC_CMD(msg=0)", "pulp.HiGHS(msg=False)"])
def test_pulp_model_is_recorded_whole(opened: Interpreter, solver: str) -> None:
    model = only(opened.run(PULP.replace("{solver}", solver)))
    assert (model.source, model.sense, model.offset) == ("pulp", Sense.MAXIMIZE, 7.0)
    assert model.costs == {"x": 3.0, "y": 2.0, "b": 1.0}
    variables = {variable.name: variable for variable in model.variables}
    assert (variables["x"].domain, variables["x"].lower, variables["x"].upper) == (Domain.INTEGER, 0, 4)
    assert (variables["y"].domain, variables["y"].upper) == (Domain.CONTINUOUS, None)
    assert variables["b"].domain is Domain.BINARY
    rows = {row.name: row for row in model.constraints}
    assert (rows["labor"].coefficients, rows["labor"].operator, rows["labor"].bound) == ({"x": 1, "y": 1}, "<=", 5.5)
    assert (rows["link"].operator, rows["link"].bound) == (">=", -1)
    assert [row.operator for row in model.constraints].count("==") == 1
    assert model.solver_status == "Optimal"
    assert model.objective == pytest.approx(21.0)
    assert verify(model).holds


@pytest.mark.parametrize(
    ("code", "source", "objective"),
    [(LINPROG, "scipy.linprog", -12.3333), (MILP, "scipy.milp", -7.0), (HIGHS, "highspy", 18.0)],
    ids=["linprog", "milp", "highspy"],
)
def test_other_libraries_are_recorded_and_hold(opened: Interpreter, code: str, source: str, objective: float) -> None:
    model = only(opened.run(code))
    assert model.source == source
    assert model.objective is not None
    assert verify(model).doubts == ()


def test_several_models_of_one_script_are_recorded_in_order(opened: Interpreter) -> None:
    execution = opened.run(PULP.replace("{solver}", "pulp.HiGHS(msg=False)") + LINPROG + MILP)
    assert [model.source for model in execution.formulations] == ["pulp", "scipy.linprog", "scipy.milp"]


def test_model_solved_again_after_a_change_is_recorded_again(opened: Interpreter) -> None:
    code = PULP.replace("{solver}", "pulp.HiGHS(msg=False)") + "p += x <= 1\np.solve(pulp.PULP_CBC_CMD(msg=0))\n"
    first, second = opened.run(code).formulations
    assert len(second.constraints) == len(first.constraints) + 1


def test_function_imported_by_name_is_recorded(opened: Interpreter) -> None:
    assert len(opened.run("from scipy.optimize import linprog as solve; solve([1])").formulations) == 1


def test_infeasible_model_is_recorded_with_its_status(opened: Interpreter) -> None:
    code = """
        import pulp
        p = pulp.LpProblem("p", pulp.LpMinimize)
        x = pulp.LpVariable("x", 0, 1)
        p += x
        p += x >= 2
        p.solve(pulp.PULP_CBC_CMD(msg=0))
    """
    model = only(opened.run(textwrap.dedent(code)))
    assert model.solver_status == "Infeasible"
    assert verify(model).holds


def test_model_solved_before_an_early_exit_is_recorded(opened: Interpreter) -> None:
    execution = opened.run(PULP.replace("{solver}", "pulp.HiGHS(msg=False)") + "import os; os._exit(0)")
    assert (execution.status, len(execution.formulations)) == ("early_exit", 1)


def test_capture_does_not_change_what_scripts_print(opened: Interpreter) -> None:
    code = """
        import warnings; warnings.simplefilter("always")
        import pulp, sys
        from scipy.optimize import linprog
        print(linprog.__name__, linprog.__doc__[:20], pulp.LpProblem.solve.__name__)
        r = linprog([1, 1], A_ub=[[-1, -2]], b_ub=[-3])
        print(sorted(r), r.x)
        import inspect; print(list(inspect.signature(pulp.LpProblem.solve).parameters))
    """
    execution = opened.run(textwrap.dedent(code))
    assert execution.stderr == ""
    assert execution.stdout.splitlines()[0].startswith("linprog ")
    assert execution.stdout.splitlines()[-1] == "['self', 'solver', 'kwargs']"


def test_error_of_a_solver_reaches_the_script_unchanged(opened: Interpreter) -> None:
    execution = opened.run("from scipy.optimize import linprog\nlinprog([1, 2], A_ub=[[1]], b_ub=[1])")
    assert execution.status == "error"
    assert "ValueError" in execution.stderr
    assert "capture" not in execution.stderr


def test_model_beyond_the_budget_is_recorded_in_outline(opened: Interpreter) -> None:
    code = """
        import pulp
        p = pulp.LpProblem("big", pulp.LpMinimize)
        x = pulp.LpVariable.dicts("x", range(200), 0)
        p += pulp.lpSum(x.values())
        for k in range(200): p += pulp.lpSum(x.values()) >= k
        p.solve(pulp.HiGHS(msg=False))
    """
    model = only(opened.run(textwrap.dedent(code), Limits(capture_bytes=100_000)))
    assert (model.truncated, len(model.variables), model.constraints) == (True, 200, ())
    model = only(opened.run(textwrap.dedent(code), Limits(capture_bytes=1_000)))
    assert (model.truncated, model.variables, model.objective) == (True, (), 199.0)


def test_solve_that_a_limit_ends_leaves_the_model(opened: Interpreter) -> None:
    code = """
        import pulp, time
        class Slow(pulp.LpSolver):
            def actualSolve(self, problem, **options):
                time.sleep(60)
        p = pulp.LpProblem("p", pulp.LpMaximize)
        x = pulp.LpVariable("x", 0, 3)
        p += 2 * x
        p.solve(Slow())
    """
    execution = opened.run(textwrap.dedent(code), Limits(wall_seconds=1))
    assert execution.status == "timeout"
    (model,) = execution.formulations
    assert (model.costs, model.solver_status, model.objective) == ({"x": 2.0}, "Not solved", None)
    assert model.variables[0].value is None


def test_solve_that_raises_leaves_the_model(opened: Interpreter) -> None:
    code = PULP.replace("{solver}", "pulp.GLPK_CMD(path='nowhere', msg=0)")
    execution = opened.run(code)
    assert execution.status == "error"
    assert [(model.solver_status, model.objective) for model in execution.formulations] == [("Not solved", None)]


def test_solves_of_several_threads_are_all_recorded(opened: Interpreter) -> None:
    code = """
        import threading
        from scipy.optimize import linprog
        threads = [threading.Thread(target=linprog, args=([k, 1],), kwargs={"bounds": (1, 2)}) for k in range(1, 9)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """
    execution = opened.run(textwrap.dedent(code))
    assert sorted(model.objective or 0 for model in execution.formulations) == [k + 1 for k in range(1, 9)]


def test_solves_of_forked_processes_are_all_recorded(opened: Interpreter) -> None:
    code = """
        import os
        from scipy.optimize import linprog
        for k in (1, 2, 3):
            pid = os.fork()
            if pid == 0:
                linprog([k], bounds=(1, 2))
                os._exit(0)
            os.waitpid(pid, 0)
    """
    execution = opened.run(textwrap.dedent(code))
    assert [model.objective for model in execution.formulations] == [1, 2, 3]


def test_reloaded_module_is_recorded_again(opened: Interpreter) -> None:
    code = "import importlib, scipy.optimize as o\no = importlib.reload(o)\no.linprog([1])\no.linprog([2])"
    assert len(opened.run(code).formulations) == 2


def test_forged_record_is_caught_by_verification(opened: Interpreter) -> None:
    code = """
        import json, os
        x = {"name": "x", "domain": "continuous", "lower": 0, "upper": 1, "value": 42}
        forged = {"source": "pulp", "sense": "maximize", "costs": {"x": 1}, "variables": [x], "constraints": [],
                  "solver": "CBC", "solver_status": "Optimal", "objective": 42}
        os.write(251, json.dumps(forged).encode() + b"\\n")
    """
    assert not verify(only(opened.run(textwrap.dedent(code)))).holds


def test_record_with_numbers_json_lacks_is_passed_over(opened: Interpreter) -> None:
    record = b'{"source":"x","sense":"minimize","costs":{"x":NaN},"variables":[],"constraints":[]}\n'
    assert opened.run(f"import os; os.write(251, {record!r})").formulations == ()


MODEL = {"source": "pulp", "sense": "maximize", "costs": {"x": 1}, "constraints": [],
         "variables": [{"name": "x", "domain": "continuous", "lower": 0, "upper": 1}]}  # fmt: skip


def parsed(*lines: object) -> tuple[Formulation, ...]:
    return formulations.parse(b"\n".join(json.dumps(line).encode() for line in lines))


def test_outcome_is_added_to_the_model_of_the_same_serial_number() -> None:
    (first, second) = parsed(
        {**MODEL, "serial": "7.1"},
        {**MODEL, "serial": "7.2", "costs": {}},
        {"serial": "7.1", "solver_status": "Optimal", "objective": 1, "values": [1]},
    )
    assert (first.solver_status, first.objective, first.variables[0].value) == ("Optimal", 1, 1)
    assert (second.solver_status, second.objective, second.variables[0].value) == ("", None, None)


@pytest.mark.parametrize(
    "line",
    [
        {"serial": "7.9", "solver_status": "Optimal", "objective": 3, "values": [3]},
        {"serial": 1, "solver_status": "Optimal", "objective": 3},
        {"serial": ["7.1"], "solver_status": "Optimal"},
        {"solver_status": "Optimal", "objective": 3},
        {**MODEL, "serial": "7.2", "sense": "sideways"},
        {**MODEL, "serial": "7.2", "more": 1},
        ["7.1"],
        "7.1",
        None,
    ],
)
def test_line_that_belongs_to_no_model_is_passed_over(line: object) -> None:
    assert parsed({**MODEL, "serial": "7.1"}, line) == parsed({**MODEL, "serial": "7.1"})


@pytest.mark.parametrize("values", [[], [1, 2], "1", None])
def test_values_that_do_not_fit_the_variables_are_left_out(values: object) -> None:
    told = {"serial": "7.1", "solver_status": "Optimal", "objective": 1, "values": values}
    (model,) = parsed({**MODEL, "serial": "7.1"}, told)
    assert (model.solver_status, model.variables[0].value) == ("Optimal", None)


def test_forged_outcome_is_caught_by_verification() -> None:
    (model,) = parsed(
        {**MODEL, "serial": "7.1"},
        {"serial": "7.1", "solver_status": "Optimal", "objective": 1, "values": [1]},
        {"serial": "7.1", "solver_status": "Optimal", "objective": 9, "values": [9]},
    )
    assert not verify(model).holds


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_lacks_or_cannot_hold_are_refused(number: str) -> None:
    assert formulations.parse(json.dumps(MODEL).replace('{"x": 1}', f'{{"x": {number}}}').encode()) == ()
