"""Imports what scripts import, and what libraries import on first use, and rehearses typical scripts."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Sequence
from typing import BinaryIO

from .. import capture
from . import processes

SCRIPTS = {
    "numpy": (
        """
import numpy as np
a = np.array([[2.0, 1.0], [1.0, 3.0]])
print(a @ np.ones(2), np.round(a.sum(axis=0), 2).tolist(), np.arange(4).reshape(2, 2).max(), f"{a[0, 1]:.2f}")
""",
    ),
    "pulp": (
        """
import pulp
m = pulp.LpProblem("w", pulp.LpMaximize)
x = pulp.LpVariable.dicts("x", (range(3), range(3)), 0, 5, cat="Integer")
y = [pulp.LpVariable(f"y{i}", cat="Binary") for i in range(3)]
m += pulp.lpSum(x[i][j] for i in range(3) for j in range(3)) + pulp.lpSum(y)
m += pulp.lpSum(x[0]) + 2 * y[0] <= 7
m += x[1][1] - y[1] >= 1
m += pulp.lpSum(x[i][2] for i in range(3)) == 4
m.solve(pulp.PULP_CBC_CMD(msg=0))
print(pulp.LpStatus[m.status], pulp.value(m.objective), [v.varValue for v in m.variables()])
""",
    ),
    "highspy": (
        """
import pulp
m = pulp.LpProblem("w", pulp.LpMaximize)
x = pulp.LpVariable.dicts("x", range(3), 0, 5, cat="Integer")
m += pulp.lpSum(x.values())
m += pulp.lpSum(x.values()) <= 7
m.solve(pulp.HiGHS(msg=False))
print(pulp.LpStatus[m.status], pulp.value(m.objective))
""",
    ),
    "scipy.optimize": (
        """
import numpy as np
from scipy.optimize import linprog
r = linprog(np.array([1.0, 2.0]), A_ub=np.array([[-1, -1]]), b_ub=[-1], A_eq=[[1, -1]], b_eq=[0], bounds=[(0, 9)] * 2)
print(r.status, round(r.fun, 4), np.round(r.x, 4).tolist(), r.message)
""",
        """
import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linear_sum_assignment, linprog, milp, minimize
print(linprog([1, 2], A_ub=[[-1, -1]], b_ub=[-1], method="highs").x)
print(milp([1, 2], constraints=LinearConstraint([[1, 1]], 1, 5), integrality=[1, 1], bounds=Bounds(0, 9)))
print(minimize(lambda v: (v[0] - 1) ** 2 + v[1] ** 2, [0, 0], method="SLSQP", bounds=[(0, 2)] * 2))
print(linear_sum_assignment(np.eye(3)), np.linalg.solve(np.eye(3), np.ones(3)), np.random.default_rng(0).normal())
""",
    ),
    "sympy": (
        """
import sympy as sp
x, y = sp.symbols("x y", positive=True)
f = x**2 * sp.exp(-y) + sp.cos(y) + sp.log(x) * sp.sqrt(y)
print(sp.simplify(sp.diff(f, x)), sp.solve([x + y - 3, x - y - 1], [x, y]), sp.N(f.subs({x: 2, y: 1}), 5))
""",
        """
import sympy as sp
x, y = sp.symbols("x y")
print(sp.solve(x**2 - 4, x), sp.nsolve(x**2 - 2, 1), sp.latex(x / y), sp.expand((x + y) ** 2))
print(sp.integrate(x**2, x), sp.Matrix([[1, 2], [3, 4]]).inv(), sp.factor(x**2 - 1), sp.Rational(1, 3) + sp.pi)
""",
    ),
}
"""What scripts commonly do with a library, by the module it takes; the most common first."""
_MAY_START_THREADS = {"highspy", "scipy.optimize"}


def load(preload: Sequence[str], *, rehearse: bool) -> None:
    """Imports modules and what they import on first use.

    Args:
        preload: Modules to import; one that is not installed is passed over.
        rehearse: Also run their `SCRIPTS`: code that ran before is faster, and writes to less memory in a fork (Python
            specialises what it runs, in place).
    """
    for name in preload:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in preload if rehearse else ():
        for source in SCRIPTS.get(name, ()) if name in sys.modules else ():
            # a process with threads must not fork
            if name not in _MAY_START_THREADS or _starts_no_thread(source):
                run_scripts((source,))
    _reset()


def scripts_for(preload: Sequence[str]) -> list[str]:
    """Returns the `SCRIPTS` of those modules that are imported."""
    return [source for name in preload if name in sys.modules for source in SCRIPTS.get(name, ())]


def _starts_no_thread(source: str) -> bool:
    """Finds out in a child process (HiGHS starts some from four processors on).

    The modules that the script causes to be loaded are imported here in any case.
    """

    def count_threads(report: BinaryIO) -> None:
        known = set(sys.modules)
        run_scripts((source,))
        threads = len(os.listdir("/proc/self/task"))
        report.write("\n".join((str(threads), *sorted(set(sys.modules) - known))).encode())

    threads, *modules = processes.report_of_child(count_threads).decode().split("\n")
    for name in modules:
        if "__main__" not in name:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return threads == "1"


def _reset() -> None:
    """Undoes what of a rehearsal a script could notice, and leaves less for forks to copy and to search."""
    cache = sys.modules.get("sympy.core.cache")
    if cache is not None:
        cache.clear_cache()
    solver = getattr(sys.modules.get("highspy"), "Highs", None)
    if hasattr(solver, "resetGlobalScheduler"):
        solver.resetGlobalScheduler(True)  # type: ignore[union-attr] # else a script could not choose its threads
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()


def run_scripts(sources: Sequence[str]) -> None:
    """Runs scripts in this process, without output."""
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    outputs = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        capture.start(capture.Recorder(nowhere, 1 << 30))  # recording is rehearsed too
        with warnings.catch_warnings():  # leaving it also makes Python forget which warnings it has given
            for source in sources:
                with contextlib.suppress(BaseException):
                    exec(compile(source, "warmup", "exec"), {"__name__": "__main__"})  # noqa: S102
            sys.stdout.flush()
            sys.stderr.flush()
    finally:
        for descriptor, output in zip((1, 2), outputs, strict=True):
            os.dup2(output, descriptor)
            os.close(output)
        os.close(nowhere)
        os.chdir("/")
        shutil.rmtree(directory, ignore_errors=True)
