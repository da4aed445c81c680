"""Families whose data are a matrix or a list of sites: assignment, transportation, fixed charge."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import chain, product

from calmstorm.problems.case import Case, Layout, constraint, linear_model
from calmstorm.problems.wording import (
    PHRASES,
    closing,
    intro,
    listing,
    money,
    phrase,
    pick,
    printed,
    question,
    sentence,
)
from calmstorm.records import Domain, ReferenceConstraint


def assignment(rng: random.Random, size: int) -> Case:
    """One job per worker, one worker per job."""
    count = min(max(size, 2), 4)
    people, jobs = pick(rng, "people", count, two_words=0.0), pick(rng, "jobs", count, two_words=0.0)
    maximize = rng.random() < 0.4
    objective = phrase(rng, "assignment", "maximize" if maximize else "minimize")
    values = [[float(rng.randint(1, 60)) for _ in jobs] for _ in people]
    opening = intro(rng, "assignment", people=listing(people), jobs=listing(jobs))
    rule = phrase(rng, "assignment", "rule")
    body = _matrix_text(rng, people, jobs, values, objective)
    parts = [opening, rule, body] if rng.random() < 0.5 else [opening, body, rule]
    ones = [1.0] * count
    rows = _sums(people, jobs, ("==", "=="), (ones, ones), ("each row", "each column"))
    model = linear_model(maximize, objective, _cells(people, jobs), chain(*values), rows, Domain.BINARY)
    text = " ".join((*parts, question(rng, maximize, objective)))
    return Case("assignment", text, model, Layout.MATRIX, tuple(people), tuple(jobs))


def transportation(rng: random.Random, size: int) -> Case:
    """The cheapest way to ship from plants to stores."""
    sources, targets = min(max(size - 1, 2), 3), min(max(size, 2), 4)
    places = pick(rng, "places", sources + targets, two_words=0.0)
    plants, stores = places[:sources], places[sources:]
    costs = [[float(rng.randint(1, 40)) for _ in stores] for _ in plants]
    demand = [float(rng.randint(10, 90)) for _ in stores]
    supply = [float(rng.randint(20, 70)) for _ in plants]
    while sum(supply) < sum(demand):
        supply = [amount + rng.randint(5, 40) for amount in supply]
    unit = rng.choice(PHRASES["transportation"]["units"])
    have = _amounts_text(rng, "supply", plants, supply, unit)
    want = _amounts_text(rng, "demand", stores, demand, unit)
    body = _matrix_text(rng, plants, stores, costs, "cost")
    parts = [have, want, body] if rng.random() < 0.7 else [body, have, want]
    parts.append(closing(rng, Domain.CONTINUOUS, "transportation"))
    parts.append(question(rng, False, phrase(rng, "transportation", "objective")))
    rows = _sums(plants, stores, ("<=", ">="), (supply, demand), ("supply", "demand"))
    model = linear_model(False, "cost", _cells(plants, stores), chain(*costs), rows, Domain.CONTINUOUS)
    text = " ".join(part for part in parts if part)
    return Case("transportation", text, model, Layout.MATRIX, tuple(plants), tuple(stores))


def fixed_charge(rng: random.Random, size: int) -> Case:
    """Which sites to open, and how much to make at each."""
    names = pick(rng, "places", size, two_words=0.0)
    opening = [float(rng.randint(50, 600)) for _ in names]
    capacity = [float(rng.randint(20, 120)) for _ in names]
    unit_cost = [float(rng.randint(2, 25)) for _ in names]
    demand = float(int(sum(capacity) * rng.uniform(0.35, 0.75)))
    style = rng.choice(("$", "dollars", "euros"))
    sites = [
        {
            "name": name,
            "opening": money(rng, fixed, style),
            "capacity": printed(rng, most),
            "cost": money(rng, cost, style),
        }
        for name, fixed, most, cost in zip(names, opening, capacity, unit_cost, strict=True)
    ]
    if rng.random() < 0.55:
        form = rng.choice(PHRASES["fixed_charge"]["site"])
        body = " ".join(form.format(**site) for site in sites)
    else:
        sentences = (
            ("Opening costs {}.", "{opening} in {name}"),
            ("The capacity is {}.", "{capacity} in {name}"),
            ("The unit cost is {}.", "{cost} in {name}"),
        )
        body = " ".join(whole.format(listing([cell.format(**site) for site in sites])) for whole, cell in sentences)
    parts = [intro(rng, "fixed_charge", names=listing(names)), body]
    parts.append(phrase(rng, "fixed_charge", "demand", bound=demand))
    parts.append(question(rng, False, "total cost" if rng.random() < 0.5 else "cost"))
    rows = [constraint("demand", [1.0] * size + [0.0] * size, ">=", demand)]
    for index, name in enumerate(names):
        made = [float(other == index) for other in range(size)]
        room = [-capacity[index] * one for one in made]
        rows.append(constraint(f"capacity {name}", made + room, "<=", 0.0, "capacity"))
    variables = names + [f"open {name}" for name in names]
    domains = [Domain.CONTINUOUS] * size + [Domain.BINARY] * size
    model = linear_model(False, "cost", variables, unit_cost + opening, rows, domains)
    return Case("fixed_charge", " ".join(parts), model, Layout.SITES, tuple(names))


def _matrix_text(
    rng: random.Random, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], label: str
) -> str:
    """Words a table row by row."""
    form = rng.randrange(4)
    parts = []
    for name, line in zip(rows, values, strict=True):
        cells = [(column, printed(rng, value)) for column, value in zip(columns, line, strict=True)]
        if form == 0:
            parts.append(f"{name}: {', '.join(f'{column} {value}' for column, value in cells)}.")
        elif form == 1:
            parts.append(f"For {name} the {label} is {listing([f'{value} for {column}' for column, value in cells])}.")
        elif form == 2:
            parts.append(f"From {name} the {label} is {listing([f'{value} to {column}' for column, value in cells])}.")
        else:
            numbers = listing([value for _, value in cells])
            parts.append(f"{sentence(label)} of {name} with {listing(columns)}: {numbers} respectively.")
    return " ".join(parts)


def _amounts_text(rng: random.Random, kind: str, places: Sequence[str], amounts: Sequence[float], unit: str) -> str:
    """Words what plants have or stores need, as one sentence or one for each place."""
    start, form, end = rng.choice(PHRASES["transportation"][kind])
    cells = [
        form.format(place=place, amount=f"{printed(rng, amount)} {unit}")
        for place, amount in zip(places, amounts, strict=True)
    ]
    return f"{start}{listing(cells) if end else ' '.join(cells)}{end}"


def _cells(rows: Sequence[str], columns: Sequence[str]) -> list[str]:
    return [f"{row} {column}" for row, column in product(rows, columns)]


def _sums(
    rows: Sequence[str],
    columns: Sequence[str],
    operators: tuple[str, str],
    bounds: tuple[Sequence[float], Sequence[float]],
    groups: tuple[str, str],
) -> list[ReferenceConstraint]:
    """Returns the constraints on the sums of a matrix: by row, then by column."""
    cells = list(product(range(len(rows)), range(len(columns))))
    return [
        constraint(
            name, [float(cell[axis] == index) for cell in cells], operators[axis], bounds[axis][index], groups[axis]
        )
        for axis, names in enumerate((rows, columns))
        for index, name in enumerate(names)
    ]


MATRIX_FAMILIES: dict[str, Callable[[random.Random, int], Case]] = {
    family.__name__: family for family in (assignment, transportation, fixed_charge)
}
