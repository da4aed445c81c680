from __future__ import annotations

import pytest

from calmstorm.intervener.rules import find_flaws, named
from calmstorm.records import LabelStatus, Problem

PROBLEM = Problem(id="p", question="How much?", answer=400.0, status=LabelStatus.OPTIMAL)
TAIL = "```output\n300.0\n```\nThat is plausible.\n\\boxed{300}"


def triggers(text: str, code: str) -> list[int]:
    return [int(finding.trigger) for finding in find_flaws(PROBLEM, f"{text}\n```python\n{code}\n```\n{TAIL}")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Maximize 3x with x <= 40.", "m = pulp.LpProblem('m', pulp.LpMinimize)\nm += 3*x\nm += x <= 40\nm.solve()"),
        ("min 3a, 2a >= 40", "m.setObjective(3*a, GRB.MAXIMIZE)\nm.addConstr(2*a >= 40)\nm.optimize()"),
        ("x is a whole number, 3x <= 40.", "r = linprog([-2], A_ub=[[3]], b_ub=[40])"),
        ("Let x be integer, 3x <= 40.", "x = pulp.LpVariable('x', 0)\nm += 3*x <= 40\nm.solve()"),
        ("3x + 2y <= 40 and x at most 7.", "m += 3*x + 2*y <= 40\nm.solve()"),
        ("5x + 2y >= 40, x + y <= 19", "r = linprog([1, 1], A_ub=[[-5, -2]], b_ub=[-40])"),
        ("We need a_ij <= y_j for all i.", "m += a[0][0] + a[0][1] == 1\nm += y[0] + y[1] >= 1\nm.solve()"),
    ],
)
def test_trigger_6_when_a_script_lacks_what_the_text_states(text: str, code: str) -> None:
    assert triggers(text, code) == [6]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Maximize 3x with x <= 40.", "r = linprog([-3], bounds=[(0, 40)])"),
        ("Maximize 3x, 7x <= 40.", "r = minimize(lambda x: -3 * x[0], [1])\n# 7 <= 40\nb = 7 * 40"),
        ("The variables need not be integer, 3x <= 40.", "r = linprog([-2], A_ub=[[3]], b_ub=[40])"),
        ("Whole units, 3x <= 40.", "x = solver.IntVar(0, 99, 'x')\nsolver.Add(3 * x <= 40)\nsolver.Solve()"),
        ("At most 40% may be stocks: s <= 4000", "m += s <= 0.4 * 10000\nm.solve()"),
        ("The shop has 17 employees. We set 3x <= 40.", "m += 3*x <= 40\nm.solve()"),
        ("3x_1 + 2x_2 <= 40", "A = [[3, 2]]\nb = [40]\nr = linprog([1, 1], A_ub=A, b_ub=b)"),
        ("We need a_ij <= y_j for all i.", "m += a[0][0] <= y[0]\nm.solve()"),
        ("4x + 5y <= 40, 6y <= 90", "data = read()\nm.solve()"),
    ],
)
def test_trigger_5_when_a_script_does_what_the_text_says_or_says_too_little(text: str, code: str) -> None:
    assert triggers(text, code) == [5]


def test_trigger_4_does_not_count_beside_3() -> None:
    problem = Problem(id="q", question="How much?", answer=300.0, status=LabelStatus.OPTIMAL)
    response = "```python\nm.solve()\n```\n```output\n300.0\n```\nI redo it by hand.\n\\boxed{300}"
    findings = find_flaws(problem, response)
    assert [int(finding.trigger) for finding in findings] == [3, 4]
    assert [int(finding.trigger) for finding in named(findings)] == [3]
