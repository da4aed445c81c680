"""Families with one variable per name: product mix, diet, knapsack, blending, investment, fleet, cover, shifts, advertising.

Every family draws its numbers, builds the reference model and words it. `render` holds the ways to lay out a table of
coefficients; what differs between families is vocabulary, sense, domain and which limits occur.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from calmstorm.problems import words
from calmstorm.problems.case import Case, Layout
from calmstorm.problems.wording import (
    EITHER_OR,
    FRACTIONAL,
    WHOLE,
    at_least,
    at_most,
    listing,
    money,
    plural,
    printed,
    question,
    sentence,
    with_article,
)
from calmstorm.records import Domain, LinearModel, Row, Sense


@dataclass
class Resource:
    """One column of the data: what each name uses or gives, and the limit on the total."""

    name: str
    unit: str
    values: list[float]
    operator: str
    bound: float
    limit: str = ""
    """The sentence that states the limit; written by `state_limit` when empty."""


@dataclass
class Draft:
    """A problem being drawn."""

    family: str
    names: list[str]
    maximize: bool
    objective: str
    costs: list[float]
    resources: list[Resource]
    domain: Domain
    intros: Sequence[str]
    """Sentences with `{names}`: who decides what."""
    gain: Sequence[str] = ("brings {value}",)
    """Clauses that give a name's objective coefficient."""
    use: Sequence[str] = ("needs {amounts}",)
    """Clauses that give a name's use of the resources."""
    countable: bool = True
    is_money: bool = True
    sides: list[tuple[Row, str]] = field(default_factory=list)
    """Further rows with their sentences."""
    closing: str = ""
    """Sentence about the domain; drawn when empty."""
    bounds: dict[str, str] = field(default_factory=dict)
    """Right-hand sides to be written as an expression, by row name."""
    per: str = ""


def amount(rng: random.Random, value: float, resource: Resource) -> str:
    """Returns "4 hours of labor", "4 units of wood" or "4 labor"."""
    if not resource.unit:
        return f"{printed(rng, value)} {resource.name}"
    if resource.unit in ("percent",):
        return f"{printed(rng, value)} percent {resource.name}"
    return f"{printed(rng, value)} {resource.unit} of {resource.name}"


def by_name(rng: random.Random, draft: Draft, style: str) -> str:
    """One sentence per name: "Each desk earns $30 and needs 4 hours of labor"."""
    gain, use = rng.choice(draft.gain), rng.choice(draft.use)
    gain_first = rng.random() < 0.6
    opener = (
        rng.choice(("Each {n}", "{A}", "One {n}", "The {n}", "Every {n}"))
        if draft.countable
        else rng.choice(("{N}", "The {n}"))
    )
    order = list(range(len(draft.names)))
    if rng.random() < 0.2:
        rng.shuffle(order)
    sentences = []
    for i in order:
        name = draft.names[i]
        value = money(rng, draft.costs[i], style) if draft.is_money else printed(rng, draft.costs[i])
        earns = gain.format(value=value)
        used = [(r.values[i], r) for r in draft.resources if r.values[i]]
        needs = use.format(amounts=listing([amount(rng, v, r) for v, r in used])) if used else ""
        clauses = [c for c in ((earns, needs) if gain_first else (needs, earns)) if c]
        start = opener.format(n=name, A=sentence(with_article(name)), N=sentence(name))
        sentences.append(f"{start} {rng.choice((' and ', ', and ', ' and ')).join(clauses)}.")
    return " ".join(sentences)


def by_column(rng: random.Random, draft: Draft, style: str) -> str:
    """One sentence per column of the data: "The profit is $30 per desk and $20 per chair"."""
    respectively = rng.random() < 0.3

    def column(label: str, values: list[str]) -> str:
        if respectively:
            return rng.choice(
                (
                    f"The {label} of {listing(draft.names)} is {listing(values)} respectively.",
                    f"For {listing(draft.names)} the {label} is {listing(values)}, respectively.",
                )
            )
        link = rng.choice(("per", "for"))
        pairs = [
            f"{v} {link} {n if link == 'per' or not draft.countable else with_article(n)}"
            for v, n in zip(values, draft.names, strict=True)
        ]
        return rng.choice(
            (
                f"The {label} is {listing(pairs)}.",
                f"{sentence(label)}: {', '.join(pairs)}.",
                f"The {label} amounts to {listing(pairs)}.",
            )
        )

    prices = [money(rng, c, style) if draft.is_money else printed(rng, c) for c in draft.costs]
    parts = [
        column(
            rng.choice((f"{draft.objective} per unit", f"unit {draft.objective}", draft.objective))
            if draft.countable
            else draft.objective,
            prices,
        )
    ]
    for r in draft.resources:
        label = (
            r.name
            if not r.unit
            else rng.choice((f"{r.name} in {r.unit}", f"{r.name} ({r.unit})", f"amount of {r.name} in {r.unit}"))
        )
        parts.append(column(label, [printed(rng, v) for v in r.values]))
    return " ".join(parts)


def as_table(rng: random.Random, draft: Draft, style: str) -> str:
    """A terse table: "desk: $30 profit, 4 hours labor; chair: ..."."""
    rows = []
    for i, name in enumerate(draft.names):
        cells = [
            f"{draft.objective} {money(rng, draft.costs[i], style) if draft.is_money else printed(rng, draft.costs[i])}"
        ]
        cells += [
            f"{r.name} {printed(rng, r.values[i])}{' ' + r.unit if r.unit and rng.random() < 0.5 else ''}"
            for r in draft.resources
        ]
        rows.append(f"{name}: {', '.join(cells)}")
    return rng.choice(("The data are: ", "Per unit: ", "Here are the figures. ", "")) + "; ".join(rows) + "."


def state_limit(rng: random.Random, resource: Resource) -> str:
    """Returns the sentence with the limit on a resource."""
    amount_text = f"{printed(rng, resource.bound)} {resource.unit}".strip()
    if not resource.unit:
        amount_text = f"{printed(rng, resource.bound)} units"
    return (at_most if resource.operator == "<=" else at_least)(rng, amount_text, resource.name)


def add_sides(rng: random.Random, draft: Draft, count: int) -> None:
    """Adds limits on single names and comparisons between two."""
    n = len(draft.names)
    taken: set[str] = set()
    for _ in range(count):
        kind = rng.choice(("max", "min", "order", "times"))
        i, j = rng.sample(range(n), 2)
        name, other = draft.names[i], draft.names[j]
        many = (lambda x: plural(x)) if draft.countable else (lambda x: x)
        key = f"{kind} {name}"
        if key in taken or f"max {name}" in taken or f"min {name}" in taken:
            continue
        taken.add(key)
        unit = [0.0] * n
        unit[i] = 1.0
        if kind == "max":
            bound = float(rng.randint(5, 40))
            text = rng.choice(
                (
                    f"At most {printed(rng, bound)} {many(name)} can be used.",
                    f"There can be no more than {printed(rng, bound)} {many(name)}.",
                    f"The number of {many(name)} is limited to {printed(rng, bound)}.",
                )
            )
            row = Row(name=f"max {name}", coefficients=tuple(unit), operator="<=", bound=bound)
        elif kind == "min":
            bound = float(rng.randint(1, 6))
            text = rng.choice(
                (
                    f"At least {printed(rng, bound)} {many(name)} are required.",
                    f"There must be no less than {printed(rng, bound)} {many(name)}.",
                    f"A contract asks for at least {printed(rng, bound)} {many(name)}.",
                )
            )
            row = Row(name=f"min {name}", coefficients=tuple(unit), operator=">=", bound=bound)
        elif kind == "order":
            unit[j] = -1.0
            text = rng.choice(
                (
                    f"There must be at least as many {many(name)} as {many(other)}.",
                    f"The number of {many(other)} cannot exceed the number of {many(name)}.",
                )
            )
            row = Row(name=f"{name} and {other}", coefficients=tuple(unit), operator=">=", bound=0.0)
        else:
            factor = float(rng.choice((2, 3)))
            unit[j] = -factor
            word = {2.0: "twice", 3.0: "three times"}[factor]
            text = rng.choice(
                (
                    f"At most {word} as many {many(name)} as {many(other)} are allowed.",
                    f"The number of {many(name)} can be no more than {word} the number of {many(other)}.",
                )
            )
            row = Row(name=f"{name} and {other}", coefficients=tuple(unit), operator="<=", bound=0.0)
        draft.sides.append((row, text))


def finish(rng: random.Random, draft: Draft) -> Case:
    """Words the draft and builds its reference model."""
    style = rng.choice(("$", "$", "$", "dollars", "euros", "USD"))
    intro = rng.choice(draft.intros).format(
        names=listing([plural(n) for n in draft.names] if draft.countable and rng.random() < 0.7 else draft.names),
        actor=rng.choice(words.ACTORS),
    )
    data = rng.choices((by_name, by_column, as_table), (55, 30, 15))[0](rng, draft, style)
    limits = [r.limit or state_limit(rng, r) for r in draft.resources] + [text for _, text in draft.sides]
    if rng.random() < 0.15 and draft.sides:
        rng.shuffle(limits)
    closing = draft.closing or rng.choice(
        {Domain.INTEGER: WHOLE, Domain.CONTINUOUS: FRACTIONAL, Domain.BINARY: EITHER_OR}[draft.domain]
    )
    ask = question(rng, draft.maximize, draft.objective)
    order = rng.random()
    limit_text = " ".join(limits)
    if order < 0.62:
        parts = [intro, data, limit_text, closing, ask]
    elif order < 0.8:
        parts = [intro, limit_text, data, closing, ask]
    elif order < 0.92:
        parts = [intro, closing, data, limit_text, ask]
    else:
        parts = [ask, intro, data, limit_text, closing]
    rows = [Row(name=r.name, coefficients=tuple(r.values), operator=r.operator, bound=r.bound) for r in draft.resources]
    rows += [row for row, _ in draft.sides]
    model = LinearModel(
        sense=Sense.MAXIMIZE if draft.maximize else Sense.MINIMIZE,
        objective=draft.objective,
        variables=tuple(draft.names),
        costs=tuple(draft.costs),
        rows=tuple(rows),
        domains=(draft.domain,) * len(draft.names),
    )
    bounds = tuple(draft.bounds.get(row.name, "") for row in rows)
    return Case(
        draft.family,
        len(draft.names),
        " ".join(p for p in parts if p),
        model,
        Layout.LIST,
        tuple(draft.names),
        bounds=bounds if any(bounds) else (),
    )


def _number(rng: random.Random, low: int, high: int) -> float:
    """Draws a coefficient; one in eight has a decimal."""
    value = float(rng.randint(low, high))
    return value + rng.choice((0.5, 0.2, 0.25)) if rng.random() < 0.06 else value


def _resources(
    rng: random.Random,
    pool: list[str],
    units: Sequence[str],
    n: int,
    k: int,
    low: int,
    high: int,
    operator: str,
    bounds: tuple[int, int],
) -> list[Resource]:
    """Draws `k` resources used by `n` names."""
    names = words.pick(rng, pool, k, invented_share=0.2, two_words=0.0)
    return [
        Resource(
            name, rng.choice(units), [_number(rng, low, high) for _ in range(n)], operator, float(rng.randint(*bounds))
        )
        for name in names
    ]


def _width(rng: random.Random, size: int) -> int:
    """Number of resources for a problem of a size: small problems have few."""
    return rng.choice((1, 2, 2)) if size <= 3 else rng.choice((2, 2, 3))


def product_mix(rng: random.Random, size: int) -> Case:
    """Which products to make from scarce resources."""
    names = words.pick(rng, words.PRODUCTS, size)
    integer = rng.random() < 0.6
    scale = rng.choice((1, 1, 1, 10))
    resources = _resources(
        rng, words.RESOURCES, ("units", "hours", "kg", "minutes", ""), size, _width(rng, size), 1, 12, "<=", (30, 400)
    )
    for r in resources:
        r.bound *= scale
    draft = Draft(
        "product_mix", names, True, rng.choice(("profit", "profit", "revenue", "income", "earnings")), [_number(rng, 5, 99) for _ in names], resources,
        Domain.INTEGER if integer else Domain.CONTINUOUS,
        ("{actor} makes {names}.", "{actor} produces {names}.", "{actor} can manufacture {names}.", "{actor} sells {names}.", "{actor} has to decide how many {names} to build.", "{actor} plans its output of {names}."),
        gain=("earns {value}", "brings in {value}", "sells for {value}", "yields {value}", "gives a profit of {value}", "is worth {value}", "contributes {value}"),
        use=("needs {amounts}", "takes {amounts}", "requires {amounts}", "uses {amounts}", "consumes {amounts}"),
    )  # fmt: skip
    add_sides(rng, draft, rng.choice((0, 0, 0, 1)) if size <= 3 else rng.choice((0, 1, 1, 2)))
    return finish(rng, draft)


def diet(rng: random.Random, size: int) -> Case:
    """The cheapest meal that covers what is needed."""
    names = words.pick(rng, words.FOODS, size)
    resources = _resources(
        rng, words.NUTRIENTS, ("grams", "units", "mg", ""), size, _width(rng, size), 1, 25, ">=", (20, 260)
    )
    draft = Draft(
        "diet", names, False, rng.choice(("cost", "cost", "price", "expense")), [_number(rng, 2, 30) for _ in names], resources,
        Domain.INTEGER if rng.random() < 0.5 else Domain.CONTINUOUS,
        ("A cook plans a meal with {names}.", "A diet is built from {names}.", "A school menu uses {names}.", "A hospital kitchen serves {names}.", "An athlete eats {names}.", "A shelter buys {names}."),
        gain=("costs {value}", "is bought for {value}", "has a price of {value}"),
        use=("gives {amounts}", "contains {amounts}", "provides {amounts}", "supplies {amounts}", "has {amounts}"),
        countable=False,
    )  # fmt: skip
    add_sides(rng, draft, rng.choice((0, 0, 0, 1)) if size <= 3 else rng.choice((0, 1, 1)))
    return finish(rng, draft)


def knapsack(rng: random.Random, size: int) -> Case:
    """Which items to take under a limit."""
    size += 1
    names = words.pick(rng, words.ITEMS, size)
    measure, unit = rng.choice(
        (("weight", "kg"), ("volume", "liters"), ("space", "units"), ("budget", "dollars"), ("load", "pounds"))
    )
    weights = [float(rng.randint(2, 40)) for _ in names]
    room = float(int(sum(weights) * rng.uniform(0.4, 0.7)) + 1)
    resource = Resource(measure, unit, weights, "<=", room)
    draft = Draft(
        "knapsack", names, True, rng.choice(("value", "value", "benefit", "utility")), [float(rng.randint(5, 99)) for _ in names], [resource], Domain.BINARY,
        ("A hiker can pack {names}.", "A van can carry {names}.", "{actor} may select among {names}.", "A museum can ship {names}.", "A traveler chooses from {names}."),
        gain=("is worth {value}", "has a value of {value}", "counts {value}", "is valued at {value}"), use=("takes {amounts}", "needs {amounts}", "uses {amounts}"),
        countable=False, is_money=rng.random() < 0.3,
    )  # fmt: skip
    return finish(rng, draft)


def blending(rng: random.Random, size: int) -> Case:
    """The cheapest blend with the required contents."""
    names = words.pick(rng, words.INGREDIENTS, size)
    parts = words.pick(rng, words.COMPONENTS, 1 if size <= 3 else rng.choice((1, 2)), invented_share=0.1, two_words=0.0)
    total = float(rng.choice((50, 80, 100, 120, 150, 200, 300)))
    resources = []
    for part in parts:
        values = [float(rng.randint(2, 60)) for _ in names]
        share = int(rng.uniform(0.3, 0.8) * max(values) + 0.2 * min(values))
        limit = rng.choice(
            (
                "The blend must contain at least {p} percent {c}.",
                "At least {p} percent of the mix has to be {c}.",
                "The {c} content must be no less than {p} percent.",
                "A minimum of {p} percent {c} is required.",
            )
        ).format(p=share, c=part)
        resources.append(Resource(part, "percent", values, ">=", share * total, limit))
    blend = rng.choice(("feed", "alloy", "fuel", "mortar", "paint", "fertilizer"))
    draft = Draft(
        "blending", names, False, "cost", [_number(rng, 2, 40) for _ in names], resources, Domain.CONTINUOUS,
        (f"A mill blends {{names}} into {blend}.", f"A plant mixes {{names}} to get {blend}.", f"{{actor}} makes {blend} from {{names}}."),
        gain=("costs {value} per kg", "is bought at {value} a kg", "has a price of {value} per kg"), use=("has {amounts}", "contains {amounts}", "holds {amounts}"),
        countable=False, bounds={r.name: f"{int(r.bound / total)}*{int(total)}" for r in resources},
        closing=rng.choice(("", "", "Any share is possible.", "Amounts are continuous.")),
    )  # fmt: skip
    amount_text = rng.choice(
        (
            f"Exactly {int(total)} kg are to be made.",
            f"The batch weighs {int(total)} kg.",
            f"We need {int(total)} kg in total.",
            f"The order is for {int(total)} kg.",
        )
    )
    draft.sides.append((Row(name="total", coefficients=(1.0,) * size, operator="==", bound=total), amount_text))
    return finish(rng, draft)


def investment(rng: random.Random, size: int) -> Case:
    """How to spread a budget over assets with caps."""
    names = words.pick(rng, words.ASSETS, size, two_words=0.0)
    budget = float(rng.choice((1000, 2000, 5000, 8000, 10000, 20000, 50000)))
    returns = [round(rng.randint(2, 18) / 100, 2) for _ in names]
    total = Resource("budget", "dollars", [1.0] * size, "<=", budget)
    word = rng.choice(("return", "interest", "gain"))
    draft = Draft("investment", names, True, word, returns, [total], Domain.CONTINUOUS, ())
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
    rows = [Row(name="budget", coefficients=(1.0,) * size, operator="<=", bound=budget)]
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
        rows.append(
            Row(
                name=f"max {names[i]}", coefficients=tuple(float(j == i) for j in range(size)), operator="<=", bound=cap
            )
        )
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
        rows.append(
            Row(
                name=f"min {names[i]}", coefficients=tuple(float(j == i) for j in range(size)), operator=">=", bound=low
            )
        )
    intro = rng.choice(
        ("{actor} wants to invest in {names}.", "A fund can buy {names}.", "{actor} spreads money over {names}.")
    ).format(actor=rng.choice(words.ACTORS), names=listing(names))
    closing = rng.choice((*FRACTIONAL, "Any amount can be invested."))
    text = " ".join((intro, body, *limits, closing, question(rng, True, draft.objective)))
    model = LinearModel(
        sense=Sense.MAXIMIZE,
        objective=word,
        variables=tuple(names),
        costs=tuple(returns),
        rows=tuple(rows),
        domains=(Domain.CONTINUOUS,) * size,
    )
    return Case("investment", size, text, model, Layout.LIST, tuple(names))


def fleet(rng: random.Random, size: int) -> Case:
    """How many trips or vehicles of each kind to use."""
    names = words.pick(rng, words.VEHICLES, size)
    load, unit = rng.choice(
        (("people", ""), ("boxes", ""), ("tons", ""), ("parcels", ""), ("animals", ""), ("crates", ""))
    )
    carry = [float(rng.choice((rng.randint(2, 20), rng.randint(10, 90)))) for _ in names]
    need = float(int(sum(carry) * rng.uniform(2.5, 8)))
    resources = [
        Resource(
            load,
            unit,
            carry,
            ">=",
            need,
            rng.choice(
                (
                    "At least {b} {l} must be moved.",
                    "No less than {b} {l} have to be carried.",
                    "{b} {l} or more need transport.",
                    "The total number of {l} must be at least {b}.",
                )
            ).format(b=printed(rng, need), l=load),
        )
    ]
    if rng.random() < 0.4:
        second, text = rng.choice(
            (
                ("drivers", "At most {b} drivers are available."),
                ("fuel", "The fuel is limited to {b} units."),
                ("hours", "There are only {b} hours."),
            )
        )
        use = [float(rng.randint(1, 6)) for _ in names]
        room = float(int(need / min(carry) * max(use) * rng.uniform(0.5, 1.0)) + 5)
        resources.append(Resource(second, "", use, "<=", room, text.format(b=printed(rng, room))))
    draft = Draft(
        "fleet", names, False, rng.choice(("cost", "cost", "pollution", "time")), [_number(rng, 5, 120) for _ in names], resources, Domain.INTEGER,
        ("{actor} moves goods by {names}.", "{actor} can send {names}.", "A depot uses {names}.", "Transport is possible with {names}."),
        gain=("costs {value} per trip", "costs {value} a trip", "adds {value} per trip"), use=("carries {amounts}", "handles {amounts}", "counts {amounts}"),
    )  # fmt: skip
    draft.is_money = draft.objective == "cost"
    draft.closing = rng.choice((*WHOLE, "Only whole trips are possible.", "The number of trips must be an integer."))
    add_sides(rng, draft, rng.choice((0, 0, 1)))
    return finish(rng, draft)


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
        Row(name=z, coefficients=tuple(float(i in members) for i in range(len(names))), operator=">=", bound=1.0)
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
        Row(name=p, coefficients=tuple(float(i in members) for i in range(size)), operator=">=", bound=needs[p])
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


def advertising(rng: random.Random, size: int) -> Case:
    """How many ads to run in each channel."""
    names = words.pick(rng, words.CHANNELS, size)
    budget = float(rng.randint(10, 99) * 100)
    prices = [float(rng.randint(2, 60) * 10) for _ in names]
    resource = Resource("budget", "dollars", prices, "<=", budget)
    draft = Draft(
        "advertising", names, True, rng.choice(("reach", "audience", "exposure", "sales")), [float(rng.randint(3, 90) * rng.choice((1, 10, 100))) for _ in names], [resource],
        Domain.INTEGER if rng.random() < 0.7 else Domain.CONTINUOUS,
        ("{actor} advertises by {names}.", "A campaign can use {names}.", "{actor} buys ads: {names}."),
        gain=("reaches {value} viewers", "brings {value} contacts", "adds {value} customers"), use=("costs {amounts}", "takes {amounts}", "uses {amounts}"), is_money=False,
    )  # fmt: skip
    add_sides(rng, draft, rng.choice((1, 1, 2)))
    return finish(rng, draft)


LIST_FAMILIES: dict[str, Callable[[random.Random, int], Case]] = {
    f.__name__: f for f in (product_mix, diet, knapsack, blending, investment, fleet, set_cover, shifts, advertising)
}
