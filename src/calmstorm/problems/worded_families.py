"""Families with one variable per name that word themselves: investment, set cover, shifts."""

from __future__ import annotations

import random

from calmstorm.problems import words
from calmstorm.problems.case import Case, Layout
from calmstorm.problems.wording import (
    EITHER_OR,
    FRACTIONAL,
    WHOLE,
    listing,
    money,
    printed,
    question,
    sentence,
)
from calmstorm.records import Domain, LinearModel, ReferenceConstraint, Sense


def _only(index: int, size: int) -> tuple[float, ...]:
    """Returns the unit vector that picks one variable."""
    return tuple(float(j == index) for j in range(size))


def investment(rng: random.Random, size: int) -> Case:
    """How to spread a budget over assets with caps."""
    names = words.pick(rng, words.ASSETS, size, two_words=0.0)
    budget = float(rng.choice((1000, 2000, 5000, 8000, 10000, 20000, 50000)))
    returns = [round(rng.randint(2, 18) / 100, 2) for _ in names]
    word = rng.choice(("return", "interest", "gain"))
    data = rng.choice(
        (
            "Each dollar in {n} returns {v} dollars.",
            "A dollar put into {n} gives {v} dollars.",
            "The {w} per dollar of {n} is {v}.",
        )
    )
    body = " ".join(data.format(n=n, v=f"{v:.2f}".rstrip("0"), w=word) for n, v in zip(names, returns, strict=True))
    limits = [
        rng.choice(
            (
                f"The budget is {printed(rng, budget)} dollars.",
                f"At most ${printed(rng, budget)} can be invested.",
                f"There are {printed(rng, budget)} dollars to invest.",
            )
        )
    ]
    rows = [ReferenceConstraint(name="budget", coefficients=(1.0,) * size, operator="<=", bound=budget)]
    capped = sorted(rng.sample(range(size), rng.randint(1, max(1, size - 1))))
    for i in capped:
        cap = round(budget * rng.uniform(0.15, 0.6) / 50) * 50.0
        limits.append(
            rng.choice(
                (
                    f"No more than {printed(rng, cap)} dollars may go into {names[i]}.",
                    f"At most {printed(rng, cap)} dollars can be put into {names[i]}.",
                    f"Investment in {names[i]} is limited to {printed(rng, cap)}.",
                )
            )
        )
        rows.append(ReferenceConstraint(name=f"max {names[i]}", coefficients=_only(i, size), operator="<=", bound=cap))
    if rng.random() < 0.4:
        i = rng.choice([j for j in range(size) if j not in capped] or [capped[0]])
        low = round(budget * rng.uniform(0.02, 0.1) / 10) * 10.0
        limits.append(
            rng.choice(
                (
                    f"At least {printed(rng, low)} dollars must go into {names[i]}.",
                    f"A minimum of {printed(rng, low)} dollars in {names[i]} is required.",
                )
            )
        )
        rows.append(ReferenceConstraint(name=f"min {names[i]}", coefficients=_only(i, size), operator=">=", bound=low))
    intro = rng.choice(
        ("{actor} wants to invest in {names}.", "A fund can buy {names}.", "{actor} spreads money over {names}.")
    ).format(actor=rng.choice(words.ACTORS), names=listing(names))
    closing = rng.choice((*FRACTIONAL, "Any amount can be invested."))
    text = " ".join((intro, body, *limits, closing, question(rng, True, word)))
    model = LinearModel(
        sense=Sense.MAXIMIZE,
        objective=word,
        variables=tuple(names),
        costs=tuple(returns),
        rows=tuple(rows),
        domains=(Domain.CONTINUOUS,) * size,
    )
    return Case("investment", size, text, model, Layout.LIST, tuple(names))


def set_cover(rng: random.Random, size: int) -> Case:
    """Which sites to open so that every zone is covered."""
    names = words.pick(rng, words.SITES, size + 1, two_words=0.0)
    zones = words.pick(rng, words.PLACES, rng.choice((2, 3)) if size <= 3 else rng.choice((3, 4)), two_words=0.0)
    covers = {zone: sorted(rng.sample(range(len(names)), rng.randint(1, max(2, len(names) - 2)))) for zone in zones}
    costs = [float(rng.randint(10, 300)) for _ in names]
    style = rng.choice(("$", "dollars", "euros"))
    if rng.random() < 0.5:
        price = " ".join(f"The {n} site costs {money(rng, c, style)}." for n, c in zip(names, costs, strict=True))
    else:
        price = (
            "Opening costs are "
            + listing([f"{money(rng, c, style)} for {n}" for n, c in zip(names, costs, strict=True)])
            + "."
        )
    form = rng.choice(
        ("{z} can be served from {s}.", "{z} is covered by {s}.", "Zone {z} is reached from {s}.", "{s} can serve {z}.")
    )
    covered = " ".join(
        sentence(form.format(z=z, s=listing([names[i] for i in members]))) for z, members in covers.items()
    )
    intro = rng.choice(
        (
            "A city may open stations at {n}.",
            "{actor} can build depots at {n}.",
            "Ambulance posts are possible at {n}.",
            "Towers could stand at {n}.",
        )
    ).format(n=listing(names), actor=rng.choice(words.ACTORS))
    rule = rng.choice(
        (
            "Every zone must be covered at least once.",
            "Each zone needs one open site or more.",
            "All zones must be served by at least one site.",
        )
    )
    text = " ".join((intro, price, covered, rule, rng.choice(EITHER_OR), question(rng, False, "cost")))
    rows = tuple(
        ReferenceConstraint(
            name=z, coefficients=tuple(float(i in members) for i in range(len(names))), operator=">=", bound=1.0
        )
        for z, members in covers.items()
    )
    model = LinearModel(
        sense=Sense.MINIMIZE,
        objective="cost",
        variables=tuple(names),
        costs=tuple(costs),
        rows=rows,
        domains=(Domain.BINARY,) * len(names),
    )
    return Case("set_cover", len(names), text, model, Layout.LIST, tuple(names))


def shifts(rng: random.Random, size: int) -> Case:
    """How many workers to put on each shift so that every period is staffed."""
    shift_names = words.pick(
        rng,
        ["early", "late", "night", "day", "noon", "dawn", "evening", "split", "weekend", "morning"],
        size,
        invented_share=0.3,
        two_words=0.0,
    )
    periods = [f"period {i + 1}" for i in range(rng.choice((2, 3)) if size <= 3 else rng.choice((3, 4)))]
    spans = {p: sorted(rng.sample(range(size), rng.randint(1, max(1, size - 1)))) for p in periods}
    needs = {p: float(rng.randint(2, 25)) for p in periods}
    wages = [float(rng.randint(40, 250)) for _ in shift_names]
    style = rng.choice(("$", "dollars", "euros"))
    used = {i for members in spans.values() for i in members}
    for i in range(size):
        if i not in used:
            spans[rng.choice(periods)].append(i)
    pay = rng.choice(
        ("A worker on the {n} shift costs {v}.", "The {n} shift pays {v} per worker.", "Each {n} worker is paid {v}.")
    )
    wage = " ".join(pay.format(n=n, v=money(rng, w, style)) for n, w in zip(shift_names, wages, strict=True))
    form = rng.choice(
        (
            "{P} needs at least {b} workers and is staffed by {s}.",
            "In {p} at least {b} workers from {s} must be present.",
            "{s} work in {p}, where {b} workers or more are needed.",
        )
    )
    staffed = " ".join(
        sentence(form.format(p=p, P=sentence(p), b=int(needs[p]), s=listing([shift_names[i] for i in sorted(members)])))
        for p, members in spans.items()
    )
    intro = rng.choice(
        ("A call center plans {n} shifts.", "A hospital runs {n} shifts.", "{actor} staffs the shifts {n}.")
    ).format(n=listing(shift_names), actor=rng.choice(words.ACTORS))
    text = " ".join(
        (
            intro,
            wage,
            staffed,
            rng.choice((*WHOLE, "The number of workers is an integer.")),
            question(rng, False, "cost"),
        )
    )
    rows = tuple(
        ReferenceConstraint(
            name=p, coefficients=tuple(float(i in members) for i in range(size)), operator=">=", bound=needs[p]
        )
        for p, members in spans.items()
    )
    model = LinearModel(
        sense=Sense.MINIMIZE,
        objective="cost",
        variables=tuple(shift_names),
        costs=tuple(wages),
        rows=rows,
        domains=(Domain.INTEGER,) * size,
    )
    return Case("shifts", size, text, model, Layout.LIST, tuple(shift_names))
