"""Drafts of problems with one variable per name: what is drawn first, and the ways to lay out a table of coefficients.

`finish` words a draft and builds its reference model; what differs between families is vocabulary, sense, domain and
which limits occur.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
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
from calmstorm.records import Domain, LinearModel, ReferenceConstraint, Sense


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
    sides: list[tuple[ReferenceConstraint, str]] = field(default_factory=list)
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
            row = ReferenceConstraint(name=f"max {name}", coefficients=tuple(unit), operator="<=", bound=bound)
        elif kind == "min":
            bound = float(rng.randint(1, 6))
            text = rng.choice(
                (
                    f"At least {printed(rng, bound)} {many(name)} are required.",
                    f"There must be no less than {printed(rng, bound)} {many(name)}.",
                    f"A contract asks for at least {printed(rng, bound)} {many(name)}.",
                )
            )
            row = ReferenceConstraint(name=f"min {name}", coefficients=tuple(unit), operator=">=", bound=bound)
        elif kind == "order":
            unit[j] = -1.0
            text = rng.choice(
                (
                    f"There must be at least as many {many(name)} as {many(other)}.",
                    f"The number of {many(other)} cannot exceed the number of {many(name)}.",
                )
            )
            row = ReferenceConstraint(name=f"{name} and {other}", coefficients=tuple(unit), operator=">=", bound=0.0)
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
            row = ReferenceConstraint(name=f"{name} and {other}", coefficients=tuple(unit), operator="<=", bound=0.0)
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
    rows = [
        ReferenceConstraint(name=r.name, coefficients=tuple(r.values), operator=r.operator, bound=r.bound)
        for r in draft.resources
    ]
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
