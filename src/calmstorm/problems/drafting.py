"""Drafts of problems with one variable per name: what is drawn first, and the ways to lay out a table of coefficients.

`finish` words a draft and builds its reference model; what differs between families is vocabulary, sense, domain and
which limits occur.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from calmstorm.problems.case import Case, Layout, constraint, linear_model
from calmstorm.problems.wording import (
    PHRASES,
    closing,
    listing,
    money,
    number,
    phrase,
    plural,
    printed,
    question,
    sentence,
    with_article,
)
from calmstorm.records import Domain, ReferenceConstraint


@dataclass
class Resource:
    """One column of the data: what each name uses or gives, and the limit on the total."""

    name: str
    unit: str
    values: list[float]
    operator: str
    bound: float
    limit: str = ""
    """The sentence that states the limit; written by `_limit` when empty."""


@dataclass
class Draft:
    """A problem being drawn; its phrases are those of its family in the vocabulary."""

    family: str
    names: list[str]
    maximize: bool
    objective: str
    costs: list[float]
    resources: list[Resource]
    domain: Domain
    countable: bool = True
    is_money: bool = True
    sides: list[tuple[ReferenceConstraint, str]] = field(default_factory=list)
    """Further rows with their sentences."""
    closing: str = ""
    """Sentence about the domain; drawn when empty."""
    bounds: dict[str, str] = field(default_factory=dict)
    """Right-hand sides to be written as an expression, by row name."""
    blend: str = ""
    """What the names are mixed into; only in blending."""

    def price(self, rng: random.Random, index: int, style: str) -> str:
        """Returns the objective coefficient of a name as a text prints it."""
        cost = self.costs[index]
        return money(rng, cost, style) if self.is_money else printed(rng, cost)

    def many(self, name: str) -> str:
        """Returns a name as one says it of many."""
        return plural(name) if self.countable else name


def add_sides(rng: random.Random, draft: Draft, count: int) -> None:
    """Adds limits on single names and comparisons between two."""
    taken: set[str] = set()
    for _ in range(count):
        kind = rng.choice(("max", "min", "order", "times"))
        first, second = rng.sample(range(len(draft.names)), 2)
        name, other = draft.names[first], draft.names[second]
        if taken & {f"{kind} {name}", f"max {name}", f"min {name}"}:
            continue
        taken.add(f"{kind} {name}")
        bound, factor, said = 0.0, 0.0, ""
        if kind in ("max", "min"):
            bound = float(rng.randint(5, 40) if kind == "max" else rng.randint(1, 6))
            said = number(bound)
        elif kind == "order":
            factor = 1.0
        else:
            factor = float(rng.choice((2, 3)))
            said = "twice" if factor == 2 else "three times"
        text = phrase(rng, "sides", kind, bound=said, names=draft.many(name), others=draft.many(other))
        coefficients = [0.0] * len(draft.names)
        coefficients[first] = 1.0
        if factor:
            coefficients[second] = -factor
        row_name = f"{name} and {other}" if factor else f"{kind} {name}"
        operator = "<=" if kind in ("max", "times") else ">="
        draft.sides.append((constraint(row_name, coefficients, operator, bound), text))


def finish(rng: random.Random, draft: Draft) -> Case:
    """Words the draft and builds its reference model."""
    text = _text(rng, draft)
    rows = [constraint(r.name, r.values, r.operator, r.bound) for r in draft.resources]
    rows += [row for row, _ in draft.sides]
    model = linear_model(draft.maximize, draft.objective, draft.names, draft.costs, rows, draft.domain)
    bounds = tuple(draft.bounds.get(row.name, "") for row in rows)
    return Case(draft.family, text, model, Layout.LIST, tuple(draft.names), bounds=bounds if any(bounds) else ())


def _text(rng: random.Random, draft: Draft) -> str:
    style = rng.choice(("$", "$", "$", "dollars", "euros", "USD"))
    opening = rng.choice(PHRASES[draft.family]["intro"])
    names = listing([plural(name) for name in draft.names] if draft.countable and rng.random() < 0.7 else draft.names)
    intro = opening.format(names=names, actor=rng.choice(PHRASES["common"]["actors"]), blend=draft.blend)
    data = rng.choices((_by_name, _by_column, _as_table), (55, 30, 15))[0](rng, draft, style)
    limits = [resource.limit or _limit(rng, resource) for resource in draft.resources]
    limits += [text for _, text in draft.sides]
    if rng.random() < 0.15 and draft.sides:
        rng.shuffle(limits)
    limit_text = " ".join(limits)
    domain = draft.closing or closing(rng, draft.domain)
    ask = question(rng, draft.maximize, draft.objective)
    order = rng.random()
    if order < 0.62:
        parts = [intro, data, limit_text, domain, ask]
    elif order < 0.8:
        parts = [intro, limit_text, data, domain, ask]
    elif order < 0.92:
        parts = [intro, domain, data, limit_text, ask]
    else:
        parts = [ask, intro, data, limit_text, domain]
    return " ".join(part for part in parts if part)


def _limit(rng: random.Random, resource: Resource) -> str:
    """Returns the sentence with the limit on a resource."""
    bound = printed(rng, resource.bound)
    if not resource.unit:
        bound = printed(rng, resource.bound)  # printed twice: what a seed gives depends on it
    kind = "at_most" if resource.operator == "<=" else "at_least"
    return sentence(phrase(rng, "common", kind, amount=f"{bound} {resource.unit or 'units'}", what=resource.name))


def _amount(rng: random.Random, value: float, resource: Resource) -> str:
    """Returns "4 hours of labor", "4 percent protein" or "4 labor"."""
    unit = {"": "", "percent": "percent "}.get(resource.unit, f"{resource.unit} of ")
    return f"{printed(rng, value)} {unit}{resource.name}"


def _by_name(rng: random.Random, draft: Draft, style: str) -> str:
    """One sentence per name: "Each desk earns $30 and needs 4 hours of labor"."""
    gain, use = rng.choice(PHRASES[draft.family]["gain"]), rng.choice(PHRASES[draft.family]["use"])
    gain_first = rng.random() < 0.6
    opener = rng.choice(
        ("Each {n}", "{A}", "One {n}", "The {n}", "Every {n}") if draft.countable else ("{N}", "The {n}")
    )
    order = list(range(len(draft.names)))
    if rng.random() < 0.2:
        rng.shuffle(order)
    sentences = []
    for index in order:
        name = draft.names[index]
        earns = gain.format(value=draft.price(rng, index, style))
        used = [(resource.values[index], resource) for resource in draft.resources if resource.values[index]]
        amounts = [_amount(rng, value, resource) for value, resource in used]
        needs = use.format(amounts=listing(amounts)) if used else ""
        clauses = [clause for clause in ((earns, needs) if gain_first else (needs, earns)) if clause]
        start = opener.format(n=name, A=sentence(with_article(name)), N=sentence(name))
        sentences.append(f"{start} {rng.choice((' and ', ', and ', ' and ')).join(clauses)}.")
    return " ".join(sentences)


def _by_column(rng: random.Random, draft: Draft, style: str) -> str:
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
        plain = link == "per" or not draft.countable
        pairs = [
            f"{value} {link} {name if plain else with_article(name)}"
            for value, name in zip(values, draft.names, strict=True)
        ]
        return rng.choice(
            (
                f"The {label} is {listing(pairs)}.",
                f"{sentence(label)}: {', '.join(pairs)}.",
                f"The {label} amounts to {listing(pairs)}.",
            )
        )

    prices = [draft.price(rng, index, style) for index in range(len(draft.names))]
    label = draft.objective
    if draft.countable:
        label = rng.choice((f"{label} per unit", f"unit {label}", label))
    parts = [column(label, prices)]
    for resource in draft.resources:
        name, unit = resource.name, resource.unit
        label = rng.choice((f"{name} in {unit}", f"{name} ({unit})", f"amount of {name} in {unit}")) if unit else name
        parts.append(column(label, [printed(rng, value) for value in resource.values]))
    return " ".join(parts)


def _as_table(rng: random.Random, draft: Draft, style: str) -> str:
    """A terse table: "desk: $30 profit, 4 hours labor; chair: ..."."""
    rows = []
    for index, name in enumerate(draft.names):
        cells = [f"{draft.objective} {draft.price(rng, index, style)}"]
        for resource in draft.resources:
            value = printed(rng, resource.values[index])
            unit = f" {resource.unit}" if resource.unit and rng.random() < 0.5 else ""
            cells.append(f"{resource.name} {value}{unit}")
        rows.append(f"{name}: {', '.join(cells)}")
    return rng.choice(("The data are: ", "Per unit: ", "Here are the figures. ", "")) + "; ".join(rows) + "."
