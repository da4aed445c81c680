"""Families with one variable per name that word themselves: investment, set cover, shifts."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence

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


def investment(rng: random.Random, size: int) -> Case:
    """How to spread a budget over assets with caps."""
    names = pick(rng, "assets", size, two_words=0.0)
    budget = float(rng.choice((1000, 2000, 5000, 8000, 10000, 20000, 50000)))
    returns = [round(rng.randint(2, 18) / 100, 2) for _ in names]
    objective = rng.choice(PHRASES["investment"]["objective"])
    form = rng.choice(PHRASES["investment"]["data"])
    data = [
        form.format(name=name, value=f"{value:.2f}".rstrip("0"), objective=objective)
        for name, value in zip(names, returns, strict=True)
    ]
    limits = [_investment_limit(rng, "budget", budget)]
    rows = [constraint("budget", [1.0] * size, "<=", budget)]

    def limit(kind: str, index: int, bound: float) -> None:
        limits.append(_investment_limit(rng, kind, bound, names[index]))
        only = [float(other == index) for other in range(size)]
        rows.append(constraint(f"{kind} {names[index]}", only, "<=" if kind == "max" else ">=", bound))

    capped = sorted(rng.sample(range(size), rng.randint(1, max(1, size - 1))))
    for index in capped:
        limit("max", index, round(budget * rng.uniform(0.15, 0.6) / 50) * 50.0)
    if rng.random() < 0.4:
        index = rng.choice([index for index in range(size) if index not in capped] or [capped[0]])
        limit("min", index, round(budget * rng.uniform(0.02, 0.1) / 10) * 10.0)
    opening = intro(rng, "investment", names=listing(names))
    last = closing(rng, Domain.CONTINUOUS, "investment")
    text = " ".join((opening, *data, *limits, last, question(rng, True, objective)))
    model = linear_model(True, objective, names, returns, rows, Domain.CONTINUOUS)
    return Case("investment", text, model, Layout.LIST, tuple(names))


def _investment_limit(rng: random.Random, kind: str, bound: float, name: str = "") -> str:
    forms = PHRASES["investment"][kind]  # the number is printed for each: what a seed gives depends on it
    return rng.choice([str(form.format(bound=printed(rng, bound), name=name)) for form in forms])


def set_cover(rng: random.Random, size: int) -> Case:
    """Which sites to open so that every zone is covered."""
    names = pick(rng, "sites", size + 1, two_words=0.0)
    zones = pick(rng, "places", rng.choice((2, 3)) if size <= 3 else rng.choice((3, 4)), two_words=0.0)
    most = max(2, len(names) - 2)
    covers = {zone: sorted(rng.sample(range(len(names)), rng.randint(1, most))) for zone in zones}
    costs = [float(rng.randint(10, 300)) for _ in names]
    style = rng.choice(("$", "dollars", "euros"))
    prices = [(name, money(rng, cost, style)) for name, cost in zip(names, costs, strict=True)]
    if rng.random() < 0.5:
        price = " ".join(f"The {name} site costs {cost}." for name, cost in prices)
    else:
        price = f"Opening costs are {listing([f'{cost} for {name}' for name, cost in prices])}."
    form = rng.choice(PHRASES["set_cover"]["covered"])
    covered = [
        sentence(form.format(zone=zone, names=listing([names[index] for index in members])))
        for zone, members in covers.items()
    ]
    parts = [intro(rng, "set_cover", names=listing(names)), price, *covered, phrase(rng, "set_cover", "rule")]
    parts += [closing(rng, Domain.BINARY), question(rng, False, "cost")]
    rows = _covering(covers, dict.fromkeys(zones, 1.0), len(names))
    model = linear_model(False, "cost", names, costs, rows, Domain.BINARY)
    return Case("set_cover", " ".join(parts), model, Layout.LIST, tuple(names))


def shifts(rng: random.Random, size: int) -> Case:
    """How many workers to put on each shift so that every period is staffed."""
    names = pick(rng, "shifts", size, invented_share=0.3, two_words=0.0)
    periods = [f"period {number + 1}" for number in range(rng.choice((2, 3)) if size <= 3 else rng.choice((3, 4)))]
    spans = {period: sorted(rng.sample(range(size), rng.randint(1, max(1, size - 1)))) for period in periods}
    needs = {period: float(rng.randint(2, 25)) for period in periods}
    wages = [float(rng.randint(40, 250)) for _ in names]
    style = rng.choice(("$", "dollars", "euros"))
    used = {index for members in spans.values() for index in members}
    for index in range(size):
        if index not in used:
            spans[rng.choice(periods)].append(index)
    pay = rng.choice(PHRASES["shifts"]["pay"])
    wage = [pay.format(name=name, value=money(rng, cost, style)) for name, cost in zip(names, wages, strict=True)]
    form = rng.choice(PHRASES["shifts"]["staffed"])
    staffed = []
    for period, members in spans.items():
        on_duty = listing([names[index] for index in sorted(members)])
        text = form.format(period=period, Period=sentence(period), bound=int(needs[period]), names=on_duty)
        staffed.append(sentence(text))
    parts = [intro(rng, "shifts", names=listing(names)), *wage, *staffed]
    parts += [closing(rng, Domain.INTEGER, "shifts"), question(rng, False, "cost")]
    model = linear_model(False, "cost", names, wages, _covering(spans, needs, size), Domain.INTEGER)
    return Case("shifts", " ".join(parts), model, Layout.LIST, tuple(names))


def _covering(
    covers: Mapping[str, Collection[int]], needs: Mapping[str, float], size: int
) -> Sequence[ReferenceConstraint]:
    """Returns for each zone or period the row that asks for enough of its members."""
    return [
        constraint(name, [float(index in members) for index in range(size)], ">=", needs[name])
        for name, members in covers.items()
    ]
