"""How a model is written down in a trace: lines of text first, then a script that copies them.

A plan is the model as a trace states it. It starts as a faithful copy of the reference; `calmstorm.pocket.flaws` puts
mistakes into it. Text and code are both derived from it, so a wrong plan gives a consistent wrong trace, and a wrong
copy made for the code alone gives an implementation error.
"""

from __future__ import annotations

from dataclasses import dataclass

from calmstorm.intervener.hints import DOMAIN_WORDS
from calmstorm.problems.case import Case, Layout
from calmstorm.problems.wording import number
from calmstorm.records import Domain, Sense

_SUBJECTS = {Layout.LIST: "The variables", Layout.MATRIX: "The cells", Layout.SITES: "Opening choices"}
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
    """The model as a trace states it."""

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
        describe = {Layout.LIST: _list_data, Layout.MATRIX: _matrix_data, Layout.SITES: _site_data}[self.layout]
        details, data = describe(self)
        rows = []
        for row in self.rows:
            left = _terms(self.names, row.coefficients) + " " if row.coefficients else ""
            rows.append((row.name, f"- {row.name}: {left}{row.operator} {row.bound}"))
        return [
            ("objective", f"{self.direction.capitalize()} {self.objective}: {details}"),
            *((name, f"- {name}: {values}") for name, values in data),
            *rows,
            ("domain", f"{_SUBJECTS[self.layout]} are {DOMAIN_WORDS[self.domain]}."),
        ]

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
        rows = tuple(
            PlanRow(row.name, row.coefficients, row.operator, case.bound_text(i)) for i, row in enumerate(model.rows)
        )
    elif case.layout is Layout.MATRIX:
        supplies, demands = model.rows[: len(case.names)], model.rows[len(case.names) :]
        if model.rows[0].operator == "==":
            rows = (PlanRow("each row", (), "==", "1"), PlanRow("each column", (), "==", "1"))
        else:
            rows = (
                PlanRow("supply", (), "<=", _numbers([row.bound for row in supplies])),
                PlanRow("demand", (), ">=", _numbers([row.bound for row in demands])),
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


def _list_data(plan: Plan) -> tuple[str, list[tuple[str, str]]]:
    """Returns how the objective is described, and the named lines of data, of which a list has none."""
    return _terms(plan.names, plan.costs), []


def _matrix_data(plan: Plan) -> tuple[str, list[tuple[str, str]]]:
    width = len(plan.columns)
    lines = [(name, _numbers(plan.costs[i * width : (i + 1) * width])) for i, name in enumerate(plan.names)]
    return f"a table with columns {', '.join(plan.columns)}", lines


def _site_data(plan: Plan) -> tuple[str, list[tuple[str, str]]]:
    sites = len(plan.names)
    costs = zip(plan.names, plan.costs[:sites], plan.costs[sites:], strict=True)
    lines = [(name, f"unit {number(unit)}, open {number(opening)}") for name, unit, opening in costs]
    return "unit costs plus opening costs", lines


def _list_code(plan: Plan) -> list[str]:
    """Every name follows a space, as in the text: at the start of a line it would be other tokens."""
    names = tuple(name.replace(" ", "_") for name in plan.names)
    variables = f"*[LpVariable(n, 0{_CATEGORY[plan.domain]}) for n in " + f'" {" ".join(names)}".split()]'
    lines = [f"m, {', '.join(names)} = {plan.problem()}, {variables}", f"m += {_terms(names, plan.costs)}"]
    return lines + [f"m += {_terms(names, row.coefficients)} {row.operator} {row.bound}" for row in plan.rows]


def _matrix_code(plan: Plan) -> list[str]:
    height, width = len(plan.names), len(plan.columns)
    variable = f'LpVariable(f"x{{i}}{{j}}", 0{_CATEGORY[plan.domain]})'
    table = ", ".join(f"[{_numbers(plan.costs[i * width : (i + 1) * width])}]" for i in range(height))
    lines = [
        f"c = [{table}]",
        f"x = [[{variable} for j in range({width})] for i in range({height})]",
        f"m += lpSum(lpDot(c[i], x[i]) for i in range({height}))",
    ]
    for row in plan.rows:
        if row.name == "each row":
            lines.append(f"for i in range({height}): m += lpSum(x[i]) {row.operator} {row.bound}")
        elif row.name == "each column":
            lines.append(f"for j in range({width}): m += lpSum(r[j] for r in x) {row.operator} {row.bound}")
        elif row.name == "supply":
            lines.append(f"for i, s in enumerate([{row.bound}]): m += lpSum(x[i]) {row.operator} s")
        else:
            lines.append(f"for j, d in enumerate([{row.bound}]): m += lpSum(r[j] for r in x) {row.operator} d")
    return lines


def _site_code(plan: Plan) -> list[str]:
    sites = len(plan.names)
    choice = ', cat="Integer"' if plan.domain is Domain.BINARY else _CATEGORY[plan.domain]
    lines = [
        f"c = [{_numbers(plan.costs[:sites])}]",
        f"f = [{_numbers(plan.costs[sites:])}]",
        f'x = [LpVariable(f"x{{i}}", 0) for i in range({sites})]',
        f'y = [LpVariable(f"y{{i}}", 0, 1{choice}) for i in range({sites})]',
        "m += lpDot(c, x) + lpDot(f, y)",
    ]
    for row in plan.rows:
        if row.name == "demand":
            lines.append(f"m += lpSum(x) {row.operator} {row.bound}")
        else:
            lines.append(f"for i, k in enumerate([{row.bound}]): m += x[i] {row.operator} k*y[i]")
    return lines
