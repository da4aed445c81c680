"""Imports what scripts import, down to what libraries import lazily, before any script runs."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence

SCRIPTS = (
    """
import pulp
m = pulp.LpProblem("w", pulp.LpMaximize)
x = pulp.LpVariable.dicts("x", range(3), 0, 5, cat="Integer")
m += pulp.lpSum(x.values())
m += pulp.lpSum(x.values()) <= 7
m.solve(pulp.PULP_CBC_CMD(msg=0))
m.solve(pulp.HiGHS(msg=False))
print(pulp.LpStatus[m.status], pulp.value(m.objective))
""",
    """
import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linear_sum_assignment, linprog, milp, minimize
print(linprog([1, 2], A_ub=[[-1, -1]], b_ub=[-1]))
print(milp([1, 2], constraints=LinearConstraint([[1, 1]], 1, 5), integrality=[1, 1], bounds=Bounds(0, 9)))
print(minimize(lambda v: (v[0] - 1) ** 2 + v[1] ** 2, [0, 0], method="SLSQP", bounds=[(0, 2)] * 2))
print(linear_sum_assignment(np.eye(3)), np.linalg.solve(np.eye(3), np.ones(3)), np.random.default_rng(0).normal())
""",
    """
import sympy as sp
x, y = sp.symbols("x y", positive=True)
f = x**3 * sp.exp(-x) + sp.sin(x) + sp.log(x) * sp.sqrt(y)
print(sp.simplify(sp.diff(f, x)), sp.solve([x + y - 3, x - y - 1], [x, y]), sp.nsolve(x**2 - 2, 1), sp.latex(f))
print(sp.lambdify(x, x**2)(2), sp.integrate(x**2, x), sp.Matrix([[1, 2], [3, 4]]).inv(), sp.N(sp.pi, 5))
""",
)


def load(preload: Sequence[str], *, find_lazy: bool) -> list[str]:
    """Imports modules and what they import on first use.

    Args:
        preload: Modules to import; one that is not installed is passed over.
        find_lazy: Also run `SCRIPTS` in a throw-away child and import here what they caused to be loaded there. They
            never run in this process: solvers start threads, and a process with threads must not fork.

    Returns:
        The modules that are not installed.
    """
    absent = []
    for name in preload:
        try:
            importlib.import_module(name)
        except ImportError:
            absent.append(name)
    if find_lazy:
        for name in _loaded_by_scripts():
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return absent


def _loaded_by_scripts() -> list[str]:
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(told)
            known = set(sys.modules)
            run_scripts(SCRIPTS)
            with open(tell, "w", encoding="utf-8") as names:
                names.write("\n".join(sorted(set(sys.modules) - known)))
        finally:
            os._exit(0)
    os.close(tell)
    with open(told, encoding="utf-8") as names:
        found = names.read().split("\n")
    os.waitpid(child, 0)
    return [name for name in found if name and "__main__" not in name]


def run_scripts(sources: Sequence[str]) -> None:
    """Runs scripts here, unseen. Only for a child that will never fork again: solvers start threads."""
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    for source in sources:
        with contextlib.suppress(BaseException):
            exec(compile(source, "warmup", "exec"), {"__name__": "__main__"})  # noqa: S102
    os.chdir("/")
    shutil.rmtree(directory, ignore_errors=True)
