"""Families with one variable per name that are worded from a draft: product mix, diet, knapsack, blending, fleet, ads."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from calmstorm.problems import words
from calmstorm.problems.case import Case
from calmstorm.problems.drafting import Draft, Resource, add_sides, finish
from calmstorm.problems.worded_families import investment, set_cover, shifts
from calmstorm.problems.wording import (
    WHOLE,
    printed,
)
from calmstorm.records import Domain, ReferenceConstraint


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
    draft.sides.append(
        (ReferenceConstraint(name="total", coefficients=(1.0,) * size, operator="==", bound=total), amount_text)
    )
    return finish(rng, draft)


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
