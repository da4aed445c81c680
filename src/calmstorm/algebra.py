"""A solved model in algebraic notation, for reading."""

from __future__ import annotations

from calmstorm.records import Domain, Formulation, Variable

_MOST_LINES = 40


def formulation_lines(formulation: Formulation) -> list[str]:
    """Returns a model as lines for reading, cut when it is long: objective, rows, variables with bounds, solution."""
    lines = [f"{formulation.sense.value} {_expression(formulation.costs)}{_offset(formulation.offset)}"]
    lines += [f"  {_expression(row.coefficients)} {row.operator} {row.bound:g}" for row in formulation.constraints]
    kinds: dict[str, list[str]] = {}
    for variable in formulation.variables:
        kinds.setdefault(variable.domain.value, []).append(_bounded(variable))
    lines += [f"{kind}: {', '.join(names)}" for kind, names in kinds.items()]
    values = {v.name: v.value for v in formulation.variables if v.value}
    lines.append("solution: " + (", ".join(f"{n} = {v:g}" for n, v in values.items()) or "all zero"))
    return lines if len(lines) <= _MOST_LINES else [*lines[:_MOST_LINES], f"... {len(lines) - _MOST_LINES} more lines"]


def _expression(terms: dict[str, float]) -> str:
    text = ""
    for name, value in terms.items():
        sign = (" - " if value < 0 else " + ") if text else ("-" if value < 0 else "")
        text += f"{sign}{'' if abs(value) == 1 else f'{abs(value):g} '}{name}"
    return text or "0"


def _offset(value: float) -> str:
    return f" {'-' if value < 0 else '+'} {abs(value):g}" if value else ""


def _bounded(variable: Variable) -> str:
    """The name, with bounds where they are not what a reader expects: at least 0, and at most 1 for binaries."""
    low, high, name = variable.lower, variable.upper, variable.name
    if variable.domain is Domain.BINARY:
        return name
    if low is None and high is None:
        return f"{name} free"
    if low is None:
        return f"{name} <= {high:g}, may be negative"
    if high is None:
        return name if low == 0 else f"{name} >= {low:g}"
    return f"{name} <= {high:g}" if low == 0 else f"{low:g} <= {name} <= {high:g}"
