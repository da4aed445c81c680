"""How the pocket Reasoner writes a model down: lines of text first, then a script that copies them.

A plan is what the writer of a trace believes the model to be. It starts as a faithful copy of the reference and may
be spoilt by `calmstorm.pocket.flaws`; text and code are both derived from it, so a spoilt plan gives a consistent
wrong trace, and a spoilt copy made for the code alone gives an implementation error.
"""

from __future__ import annotations

from dataclasses import dataclass

from calmstorm.intervener.hints import DOMAIN_WORDS
from calmstorm.problems.case import Case, Layout
from calmstorm.problems.wording import number
from calmstorm.records import Domain, Sense

_CATEGORY = {Domain.INTEGER: ', cat="Integer"', Domain.CONTINUOUS: "", Domain.BINARY: ', cat="Binary"'}


@dataclass(frozen=True)
class PlanRow:
    """A line of the plan; for matrices and sites, a group of constraints of one kind."""

    name: str
    coefficients: tuple[float, ...]
    operator: str
    bound: str


@dataclass(frozen=True)
class Plan:
    """The model as the writer of a trace believes it to be."""

    layout: Layout
    sense: Sense
    objective: str
    names: tuple[str, ...]
    columns: tuple[str, ...]
    costs: tuple[float, ...]
    """Objective coefficients; row by row for a matrix, unit costs then opening costs for sites."""
    rows: tuple[PlanRow, ...]
    domain: Domain

    @property
    def direction(self) -> str:
        """`maximize` or `minimize`."""
        return self.sense.value

    def lines(self) -> list[tuple[str, str]]:
        """Returns the lines of the plan as (key, text); keys are `objective`, `domain` and the names of rows."""
        return {Layout.LIST: _list_lines, Layout.MATRIX: _matrix_lines, Layout.SITES: _site_lines}[self.layout](self)

    def problem(self) -> str:
        """Returns the expression that makes the empty problem."""
        return f'LpProblem("m", Lp{self.direction.capitalize()})'

    def script(self) -> str:
        """Returns a complete Python script for the plan, ending with a line break."""
        head, body, tail = self.script_parts()
        return "\n".join((*head, *body, *tail)) + "\n"

    def script_parts(self) -> tuple[list[str], list[str], list[str]]:
        """Returns the script as lines: import and problem, variables and constraints, solve and print."""
        head = ["from pulp import *"]
        if self.layout is not Layout.LIST:
            head.append(f"m = {self.problem()}")
        body = {Layout.LIST: _list_code, Layout.MATRIX: _matrix_code, Layout.SITES: _site_code}[self.layout](self)
        tail = ["m.solve(PULP_CBC_CMD(msg=0))", "print(LpStatus[m.status], round(value(m.objective), 2))"]
        if self.layout is Layout.LIST:
            tail.append("print([round(v.value(), 2) for v in m.variables()])")
        return head, body, tail


def plan_of(case: Case) -> Plan:
    """Returns the faithful plan of a case."""
    model = case.model
    if case.layout is Layout.LIST:
        rows = tuple(PlanRow(r.name, r.coefficients, r.operator, case.bound_text(i)) for i, r in enumerate(model.rows))
    elif case.layout is Layout.MATRIX:
        n = len(case.names)
        first, second = model.rows[:n], model.rows[n:]
        if model.rows[0].operator == "==":
            rows = (PlanRow("each row", (), "==", "1"), PlanRow("each column", (), "==", "1"))
        else:
            rows = (
                PlanRow("supply", (), "<=", _numbers([r.bound for r in first])),
                PlanRow("demand", (), ">=", _numbers([r.bound for r in second])),
            )
    else:
        capacities = [-row.coefficients[len(case.names) + i] for i, row in enumerate(model.rows[1:])]
        rows = (
            PlanRow("demand", (), ">=", number(model.rows[0].bound)),
            PlanRow("capacity", (), "<=", _numbers(capacities)),
        )
    return Plan(
        case.layout, model.sense, model.objective, case.names, case.columns, model.costs, rows, model.domains[-1]
    )


def _numbers(values: list[float] | tuple[float, ...]) -> str:
    return ", ".join(number(v) for v in values)


def _terms(names: tuple[str, ...], coefficients: tuple[float, ...]) -> str:
    """Writes "30 * desk + 20 * chair", in text as in code, so that code is a copy; zero terms are left out."""
    text = ""
    for name, value in zip(names, coefficients, strict=True):
        if value == 0:
            continue
        sign = (" - " if value < 0 else " + ") if text else ("-" if value < 0 else "")
        text += sign + (name if abs(value) == 1 else f"{number(abs(value))} * {name}")
    return text


def _domain_line(plan: Plan) -> tuple[str, str]:
    subject = {Layout.LIST: "The variables", Layout.MATRIX: "The cells", Layout.SITES: "Opening choices"}[plan.layout]
    return ("domain", f"{subject} are {DOMAIN_WORDS[plan.domain]}.")


def _list_lines(plan: Plan) -> list[tuple[str, str]]:
    lines = [("objective", f"{plan.direction.capitalize()} {plan.objective}: {_terms(plan.names, plan.costs)}")]
    lines += [(r.name, f"- {r.name}: {_terms(plan.names, r.coefficients)} {r.operator} {r.bound}") for r in plan.rows]
    return [*lines, _domain_line(plan)]


def _matrix_lines(plan: Plan) -> list[tuple[str, str]]:
    width = len(plan.columns)
    lines = [
        ("objective", f"{plan.direction.capitalize()} {plan.objective}: a table with columns {', '.join(plan.columns)}")
    ]
    lines += [
        (name, f"- {name}: {_numbers(plan.costs[i * width : (i + 1) * width])}") for i, name in enumerate(plan.names)
    ]
    lines += [(r.name, f"- {r.name}: {r.operator} {r.bound}") for r in plan.rows]
    return [*lines, _domain_line(plan)]


def _site_lines(plan: Plan) -> list[tuple[str, str]]:
    n = len(plan.names)
    lines = [("objective", f"{plan.direction.capitalize()} {plan.objective}: unit costs plus opening costs")]
    lines += [
        (name, f"- {name}: unit {number(plan.costs[i])}, open {number(plan.costs[n + i])}")
        for i, name in enumerate(plan.names)
    ]
    lines += [(r.name, f"- {r.name}: {r.operator} {r.bound}") for r in plan.rows]
    return [*lines, _domain_line(plan)]


def _list_code(plan: Plan) -> list[str]:
    """Every name follows a space, as in the text: at the start of a line it would be other tokens."""
    names = tuple(name.replace(" ", "_") for name in plan.names)
    variables = f"*[LpVariable(n, 0{_CATEGORY[plan.domain]}) for n in " + f'" {" ".join(names)}".split()]'
    lines = [f"m, {', '.join(names)} = {plan.problem()}, {variables}", f"m += {_terms(names, plan.costs)}"]
    return lines + [f"m += {_terms(names, r.coefficients)} {r.operator} {r.bound}" for r in plan.rows]


def _matrix_code(plan: Plan) -> list[str]:
    a, b = len(plan.names), len(plan.columns)
    table = ", ".join(f"[{_numbers(plan.costs[i * b : (i + 1) * b])}]" for i in range(a))
    lines = [
        f"c = [{table}]",
        f'x = [[LpVariable(f"x{{i}}{{j}}", 0{_CATEGORY[plan.domain]}) for j in range({b})] for i in range({a})]',
        f"m += lpSum(lpDot(c[i], x[i]) for i in range({a}))",
    ]
    for row in plan.rows:
        if row.name == "each row":
            lines.append(f"for i in range({a}): m += lpSum(x[i]) {row.operator} {row.bound}")
        elif row.name == "each column":
            lines.append(f"for j in range({b}): m += lpSum(r[j] for r in x) {row.operator} {row.bound}")
        elif row.name == "supply":
            lines.append(f"for i, s in enumerate([{row.bound}]): m += lpSum(x[i]) {row.operator} s")
        else:
            lines.append(f"for j, d in enumerate([{row.bound}]): m += lpSum(r[j] for r in x) {row.operator} d")
    return lines


def _site_code(plan: Plan) -> list[str]:
    n = len(plan.names)
    choice = ', cat="Integer"' if plan.domain is Domain.BINARY else _CATEGORY[plan.domain]
    lines = [
        f"c = [{_numbers(plan.costs[:n])}]",
        f"f = [{_numbers(plan.costs[n:])}]",
        f'x = [LpVariable(f"x{{i}}", 0) for i in range({n})]',
        f'y = [LpVariable(f"y{{i}}", 0, 1{choice}) for i in range({n})]',
        "m += lpDot(c, x) + lpDot(f, y)",
    ]
    for row in plan.rows:
        if row.name == "demand":
            lines.append(f"m += lpSum(x) {row.operator} {row.bound}")
        else:
            lines.append(f"for i, k in enumerate([{row.bound}]): m += x[i] {row.operator} k*y[i]")
    return lines
