from __future__ import annotations

from typing import Any

from calmstorm.algebra import formulation_lines
from calmstorm.records import Constraint, Domain, Formulation, Sense, Variable


def variable(name: str, domain: Domain = Domain.INTEGER, **more: Any) -> Variable:
    return Variable(name=name, domain=domain, **{"lower": 0, "upper": None, **more})


def model(**more: Any) -> Formulation:
    row = Constraint(name="_C1", coefficients={"desk": 4, "chair": 2}, operator="<=", bound=40)
    given = {
        "source": "pulp",
        "sense": Sense.MAXIMIZE,
        "costs": {"desk": 30, "chair": 20},
        "variables": (variable("desk", value=0), variable("chair", value=20)),
        "constraints": (row,),
    }
    return Formulation(**{**given, **more})


def test_a_model_is_shown_as_lines() -> None:
    assert formulation_lines(model()) == [
        "maximize 30 desk + 20 chair",
        "  4 desk + 2 chair <= 40",
        "integer: desk, chair",
        "solution: chair = 20",
    ]


def test_a_long_model_is_cut() -> None:
    assert formulation_lines(model(constraints=model().constraints * 99))[-1] == "... 62 more lines"


def test_bounds_and_the_constant_are_part_of_the_model() -> None:
    shown = formulation_lines(
        model(
            offset=-5,
            variables=(
                variable("a", upper=7),
                variable("b", lower=2, upper=7),
                variable("c", lower=None),
                variable("d", lower=None, upper=3),
                variable("e", lower=1),
                variable("f", Domain.BINARY, upper=1),
            ),
        )
    )
    assert shown[0] == "maximize 30 desk + 20 chair - 5"
    assert shown[2:4] == [
        "integer: a <= 7, 2 <= b <= 7, c free, d <= 3, may be negative, e >= 1",
        "binary: f",
    ]
    assert shown[-1] == "solution: all zero"
