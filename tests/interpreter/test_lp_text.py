"""Models as LP files: read back by a solver, they are the same models."""

from __future__ import annotations

import random
from pathlib import Path

import highspy
import pytest

from calmstorm.errors import InputError
from calmstorm.interpreter import lp_text, verify
from calmstorm.records import Constraint, Domain, Formulation, Sense, Variable

ODD_NAMES = (
    "e1", "E", "x", "end", "free", "inf", "infinity", "st", "max", "Maximize", "int", "binary", "General", "subject",
    "x[1]", "constant", "sos1", "semi", "1x", "_a", "a.b", "é", "\u017f", "x\nEnd", "x 1", "x_1", "nan", "bounds",
    "obj", "c1",
)  # fmt: skip


def read_back(text: str, tmp_path: Path) -> highspy.Highs:
    path = tmp_path / "model.lp"
    path.write_text(text, encoding="utf-8")
    solver = highspy.Highs()
    solver.silent()
    assert solver.readModel(str(path)) == highspy.HighsStatus.kOk
    solver.run()
    return solver


def formulation(**changed: object) -> Formulation:
    """max 30 desk + 20 chair + 7 with 4 desk + 2 chair <= 40, 0 <= desk <= 5 integer: 20 chairs, 400 + 7."""
    fields: dict[str, object] = {
        "source": "pulp",
        "sense": Sense.MAXIMIZE,
        "costs": {"desk": 30, "chair": 20},
        "offset": 7,
        "variables": (
            Variable(name="desk", domain=Domain.INTEGER, lower=0, upper=5),
            Variable(name="chair", domain=Domain.CONTINUOUS, lower=0, upper=None),
        ),
        "constraints": (Constraint(name="labor", coefficients={"desk": 4, "chair": 2}, operator="<=", bound=40),),
    }
    return Formulation.model_validate({**fields, **changed})


def random_formulation(draw: random.Random) -> Formulation:
    names = draw.sample(ODD_NAMES, draw.randint(1, 6))
    variables = []
    for name in names:
        domain = draw.choice(list(Domain))
        lower, upper = draw.choice([0, None, -3.5, 2, 1e-7]), draw.choice([None, 4, 1e6, 3.25])
        if domain is Domain.BINARY:
            lower, upper = 0, 1
        elif draw.random() < 0.1:
            lower = upper = draw.choice([0, 2, -3])
        variables.append(Variable(name=name, domain=domain, lower=lower, upper=upper))
    rows = [
        Constraint(
            name=draw.choice(ODD_NAMES),
            coefficients={name: draw.choice([1, -1, 2.5, -0.01, 40, 0]) for name in names if draw.random() < 0.7},
            operator=draw.choice(["<=", ">=", "=="]),
            bound=draw.choice([0, 3, -4.5, 1e5, 10]),
        )
        for _ in range(draw.randint(0, 3))
    ]
    return formulation(
        sense=draw.choice(list(Sense)),
        costs={name: draw.choice([1, -2, 0.5, -1e-3]) for name in names if draw.random() < 0.8},
        offset=draw.choice([0, 5, -2.5]),
        variables=tuple(variables),
        constraints=tuple(rows),
    )


def solved(text: str, tmp_path: Path) -> float:
    return float(read_back(text, tmp_path).getInfo().objective_function_value)


def test_model_with_a_constant_read_back_has_the_same_optimum(tmp_path: Path) -> None:
    assert solved(lp_text(formulation()), tmp_path) == pytest.approx(407)


def test_names_that_the_format_allows_stay(tmp_path: Path) -> None:
    solver = read_back(lp_text(formulation()), tmp_path)
    assert solver.getLp().col_names_ == ["desk", "chair"]
    assert solver.getLp().row_names_ == ["labor"]


def test_models_of_every_shape_read_back_have_the_same_size_status_and_optimum(tmp_path: Path) -> None:
    draw = random.Random(3)
    optima = 0
    for _ in range(300):
        model = random_formulation(draw)
        solver = read_back(lp_text(model), tmp_path)
        sums = (model.costs, *(row.coefficients for row in model.constraints))
        used = {name for terms in sums for name, factor in terms.items() if factor}
        assert len(used) <= solver.getLp().num_col_ <= len(model.variables)
        assert solver.getLp().num_row_ == len(model.constraints)
        verified = verify(model)
        is_optimal = solver.modelStatusToString(solver.getModelStatus()) == "Optimal"
        assert is_optimal is (verified.objective is not None)
        if verified.objective is not None:
            optima += 1
            assert solver.getInfo().objective_function_value == pytest.approx(verified.objective, rel=1e-6, abs=1e-6)
    assert optima > 100


@pytest.mark.parametrize(
    ("domain", "lower", "upper", "sense", "optimum"),
    [
        (Domain.CONTINUOUS, -2.5, 4.25, Sense.MAXIMIZE, 8.5 + 7),
        (Domain.CONTINUOUS, -2.5, None, Sense.MINIMIZE, -5.0 + 7),
        (Domain.INTEGER, -2.5, 4.25, Sense.MAXIMIZE, 8.0 + 7),
        (Domain.INTEGER, None, 4, Sense.MAXIMIZE, 8.0 + 7),
        (Domain.INTEGER, 3, 3, Sense.MINIMIZE, 6.0 + 7),
        (Domain.BINARY, 0, 1, Sense.MAXIMIZE, 2.0 + 7),
    ],
)
def test_domain_and_bounds_survive(
    domain: Domain, lower: float | None, upper: float | None, sense: Sense, optimum: float, tmp_path: Path
) -> None:
    variable = Variable(name="x", domain=domain, lower=lower, upper=upper)
    model = formulation(sense=sense, costs={"x": 2.0}, variables=(variable,), constraints=())
    assert solved(lp_text(model), tmp_path) == pytest.approx(optimum)


def test_free_variable_stays_free(tmp_path: Path) -> None:
    variable = Variable(name="x", domain=Domain.CONTINUOUS, lower=None, upper=None)
    row = Constraint(name="least", coefficients={"x": 1.0}, operator=">=", bound=-12.5)
    model = formulation(sense=Sense.MINIMIZE, costs={"x": 1.0}, offset=0, variables=(variable,), constraints=(row,))
    assert solved(lp_text(model), tmp_path) == pytest.approx(-12.5)


def test_infeasible_model_stays_infeasible_also_where_a_constraint_has_no_variables(tmp_path: Path) -> None:
    for coefficients in ({"desk": 1.0}, {}):
        row = Constraint(name="never", coefficients=coefficients, operator=">=", bound=6)
        solver = read_back(lp_text(formulation(constraints=(row,))), tmp_path)
        assert solver.modelStatusToString(solver.getModelStatus()) == "Infeasible"


def test_model_without_objective_is_written(tmp_path: Path) -> None:
    assert solved(lp_text(formulation(costs={}, offset=0)), tmp_path) == 0


def test_lines_are_as_short_as_the_format_asks() -> None:
    names = [f"quantity_of_the_thing_called_{index}" for index in range(200)]
    variables = tuple(Variable(name=name, domain=Domain.BINARY, lower=0, upper=1) for name in names)
    row = Constraint(name="all", coefficients=dict.fromkeys(names, 2.5), operator="<=", bound=99)
    text = lp_text(formulation(variables=variables, costs=dict.fromkeys(names, -1.0), constraints=(row,)))
    assert max(map(len, text.splitlines())) <= 560


def test_names_that_become_the_same_stay_apart(tmp_path: Path) -> None:
    names = ("x 1", "x_1", "x[1", "x_1_1")
    variables = tuple(Variable(name=name, domain=Domain.INTEGER, lower=0, upper=3) for name in names)
    rows = [Constraint(name="row", coefficients={name: 1.0}, operator="<=", bound=2) for name in names]
    text = lp_text(formulation(costs=dict.fromkeys(names, 1.0), variables=variables, constraints=rows, offset=0))
    assert solved(text, tmp_path) == pytest.approx(8)
    assert "x_1 " in text


@pytest.mark.parametrize(
    "changed",
    [{"truncated": True}, {"costs": {"ghost": 1.0}}, {"variables": formulation().variables * 2}],
    ids=["truncated", "ghost", "twice"],
)
def test_model_that_was_not_recorded_whole_has_no_file(changed: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not recorded whole"):
        lp_text(formulation(**changed))
