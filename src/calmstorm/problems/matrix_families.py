"""Families whose data are a matrix or a list of sites: assignment, transportation, fixed charge."""

from __future__ import annotations

import random
from collections.abc import Callable

from calmstorm.problems import words
from calmstorm.problems.case import Case, Layout
from calmstorm.problems.wording import FRACTIONAL, listing, money, printed, question, sentence
from calmstorm.records import Domain, LinearModel, ReferenceConstraint, Sense


def _matrix_text(rng: random.Random, rows: list[str], columns: list[str], values: list[list[float]], label: str) -> str:
    """Words a table row by row."""
    form = rng.randrange(4)
    parts = []
    for name, line in zip(rows, values, strict=True):
        cells = [(c, printed(rng, v)) for c, v in zip(columns, line, strict=True)]
        if form == 0:
            parts.append(f"{name}: {', '.join(f'{c} {v}' for c, v in cells)}.")
        elif form == 1:
            parts.append(f"For {name} the {label} is {listing([f'{v} for {c}' for c, v in cells])}.")
        elif form == 2:
            parts.append(f"From {name} the {label} is {listing([f'{v} to {c}' for c, v in cells])}.")
        else:
            parts.append(
                f"{sentence(label)} of {name} with {listing(columns)}: {listing([v for _, v in cells])} respectively."
            )
    return " ".join(parts)


def assignment(rng: random.Random, size: int) -> Case:
    """One job per worker, one worker per job."""
    n = min(max(size, 2), 4)
    people, jobs = words.pick(rng, words.PEOPLE, n, two_words=0.0), words.pick(rng, words.JOBS, n, two_words=0.0)
    maximize = rng.random() < 0.4
    label = rng.choice(("score", "profit", "output")) if maximize else rng.choice(("cost", "time"))
    values = [[float(rng.randint(1, 60)) for _ in jobs] for _ in people]
    intro = rng.choice(
        (
            "Assign {p} to {j}.",
            "{p} must be matched with {j}.",
            "{actor} has the workers {p} and the jobs {j}.",
            "The tasks {j} go to {p}.",
        )
    ).format(p=listing(people), j=listing(jobs), actor=rng.choice(words.ACTORS))
    rule = rng.choice(
        (
            "Each worker gets one job and each job one worker.",
            "Every worker does exactly one job, and every job is done once.",
            "One job per worker, one worker per job.",
        )
    )
    body = _matrix_text(rng, people, jobs, values, label)
    parts = [intro, rule, body] if rng.random() < 0.5 else [intro, body, rule]
    rows = [
        ReferenceConstraint(
            name=p,
            coefficients=tuple(float(i == a) for a in range(n) for _ in range(n)),
            operator="==",
            bound=1.0,
            group="each row",
        )
        for i, p in enumerate(people)
    ]
    rows += [
        ReferenceConstraint(
            name=j,
            coefficients=tuple(float(k == b) for _ in range(n) for b in range(n)),
            operator="==",
            bound=1.0,
            group="each column",
        )
        for k, j in enumerate(jobs)
    ]
    model = LinearModel(
        sense=Sense.MAXIMIZE if maximize else Sense.MINIMIZE,
        objective=label,
        variables=tuple(f"{p} {j}" for p in people for j in jobs),
        costs=tuple(v for line in values for v in line),
        rows=tuple(rows),
        domains=(Domain.BINARY,) * (n * n),
    )
    return Case(
        "assignment",
        n,
        " ".join((*parts, question(rng, maximize, label))),
        model,
        Layout.MATRIX,
        tuple(people),
        tuple(jobs),
    )


def transportation(rng: random.Random, size: int) -> Case:
    """The cheapest way to ship from plants to stores."""
    a = min(max(size - 1, 2), 3)
    b = min(max(size, 2), 4)
    places = words.pick(rng, words.PLACES, a + b, two_words=0.0)
    plants, stores = places[:a], places[a:]
    costs = [[float(rng.randint(1, 40)) for _ in stores] for _ in plants]
    demand = [float(rng.randint(10, 90)) for _ in stores]
    supply = [float(rng.randint(20, 70)) for _ in plants]
    while sum(supply) < sum(demand):
        supply = [s + rng.randint(5, 40) for s in supply]
    unit = rng.choice(("tons", "units", "boxes", "pallets"))
    have = rng.choice((
        "Plants in " + listing([f"{p} can ship {printed(rng, s)} {unit}" for p, s in zip(plants, supply, strict=True)]) + ".",
        "The supply is " + listing([f"{printed(rng, s)} {unit} in {p}" for p, s in zip(plants, supply, strict=True)]) + ".",
        " ".join(f"{p} has up to {printed(rng, s)} {unit}." for p, s in zip(plants, supply, strict=True)),
    ))  # fmt: skip
    want = rng.choice((
        "Stores need " + listing([f"{printed(rng, d)} {unit} in {s}" for s, d in zip(stores, demand, strict=True)]) + ".",
        "The demand is " + listing([f"{printed(rng, d)} {unit} in {s}" for s, d in zip(stores, demand, strict=True)]) + ".",
        " ".join(f"{s} needs at least {printed(rng, d)} {unit}." for s, d in zip(stores, demand, strict=True)),
    ))  # fmt: skip
    body = _matrix_text(rng, plants, stores, costs, "cost")
    parts = [have, want, body] if rng.random() < 0.7 else [body, have, want]
    rows = [
        ReferenceConstraint(
            name=p,
            coefficients=tuple(float(i == x) for x in range(a) for _ in range(b)),
            operator="<=",
            bound=supply[i],
            group="supply",
        )
        for i, p in enumerate(plants)
    ]
    rows += [
        ReferenceConstraint(
            name=s,
            coefficients=tuple(float(k == y) for _ in range(a) for y in range(b)),
            operator=">=",
            bound=demand[k],
            group="demand",
        )
        for k, s in enumerate(stores)
    ]
    closing = rng.choice((*FRACTIONAL, "", ""))
    model = LinearModel(
        sense=Sense.MINIMIZE,
        objective="cost",
        variables=tuple(f"{p} {s}" for p in plants for s in stores),
        costs=tuple(v for line in costs for v in line),
        rows=tuple(rows),
        domains=(Domain.CONTINUOUS,) * (a * b),
    )
    text = " ".join(p for p in (*parts, closing, question(rng, False, rng.choice(("cost", "shipping cost")))) if p)
    return Case("transportation", a, text, model, Layout.MATRIX, tuple(plants), tuple(stores))


def fixed_charge(rng: random.Random, size: int) -> Case:
    """Which sites to open, and how much to make at each."""
    names = words.pick(rng, words.PLACES, size, two_words=0.0)
    opening = [float(rng.randint(50, 600)) for _ in names]
    capacity = [float(rng.randint(20, 120)) for _ in names]
    unit_cost = [float(rng.randint(2, 25)) for _ in names]
    demand = float(int(sum(capacity) * rng.uniform(0.35, 0.75)))
    style = rng.choice(("$", "dollars", "euros"))
    if rng.random() < 0.55:
        form = rng.choice((
            "The {n} site costs {f} to open, holds {k} units and makes a unit for {c}.",
            "{n}: opening costs {f}, capacity is {k} units, each unit costs {c}.",
            "Opening {n} costs {f}; it can make up to {k} units at {c} each.",
            "In {n} a plant has a fixed cost of {f}, a capacity of {k} and a unit cost of {c}.",
        ))  # fmt: skip
        body = " ".join(
            form.format(n=n, f=money(rng, f, style), k=printed(rng, k), c=money(rng, c, style))
            for n, f, k, c in zip(names, opening, capacity, unit_cost, strict=True)
        )
    else:
        body = (
            "Opening costs " + listing([f"{money(rng, f, style)} in {n}" for n, f in zip(names, opening, strict=True)]) + ". "
            "The capacity is " + listing([f"{printed(rng, k)} in {n}" for n, k in zip(names, capacity, strict=True)]) + ". "
            "The unit cost is " + listing([f"{money(rng, c, style)} in {n}" for n, c in zip(names, unit_cost, strict=True)]) + "."
        )  # fmt: skip
    intro = rng.choice(
        ("{actor} may open plants in {n}.", "{actor} can build sites in {n}.", "Warehouses are possible in {n}.")
    ).format(actor=rng.choice(words.ACTORS), n=listing(names))
    need = rng.choice(
        (
            "At least {d} units must be made in total.",
            "The total output must be no less than {d} units.",
            "Demand is {d} units and must be met.",
            "A minimum of {d} units is required.",
        )
    ).format(d=printed(rng, demand))
    n = size
    rows = [ReferenceConstraint(name="demand", coefficients=(1.0,) * n + (0.0,) * n, operator=">=", bound=demand)]
    rows += [
        ReferenceConstraint(
            name=f"capacity {name}",
            coefficients=tuple(float(j == i) for j in range(n)) + tuple(-capacity[i] * (j == i) for j in range(n)),
            operator="<=",
            bound=0.0,
            group="capacity",
        )
        for i, name in enumerate(names)
    ]
    model = LinearModel(
        sense=Sense.MINIMIZE,
        objective="cost",
        variables=tuple(names) + tuple(f"open {name}" for name in names),
        costs=tuple(unit_cost) + tuple(opening),
        rows=tuple(rows),
        domains=(Domain.CONTINUOUS,) * n + (Domain.BINARY,) * n,
    )
    return Case(
        "fixed_charge",
        n,
        " ".join((intro, body, need, question(rng, False, "total cost" if rng.random() < 0.5 else "cost"))),
        model,
        Layout.SITES,
        tuple(names),
    )


MATRIX_FAMILIES: dict[str, Callable[[random.Random, int], Case]] = {
    f.__name__: f for f in (assignment, transportation, fixed_charge)
}
