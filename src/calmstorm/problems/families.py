"""Families with one variable per name that are worded from a draft: product mix, diet, knapsack, blending and so on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from calmstorm.problems.case import Case, constraint
from calmstorm.problems.drafting import Draft, Resource, add_sides, finish
from calmstorm.problems.worded_families import investment, set_cover, shifts
from calmstorm.problems.wording import PHRASES, closing, phrase, pick, printed
from calmstorm.records import Domain


def product_mix(rng: random.Random, size: int) -> Case:
    """Which products to make from scarce resources."""
    names = pick(rng, "products", size)
    domain = Domain.INTEGER if rng.random() < 0.6 else Domain.CONTINUOUS
    scale = rng.choice((1, 1, 1, 10))
    resources = _resources(rng, "resources", ("units", "hours", "kg", "minutes", ""), size, (1, 12), "<=", (30, 400))
    for resource in resources:
        resource.bound *= scale
    objective = _objective(rng, "product_mix")
    costs = [_number(rng, 5, 99) for _ in names]
    draft = Draft("product_mix", names, True, objective, costs, resources, domain)
    add_sides(rng, draft, rng.choice((0, 0, 0, 1)) if size <= 3 else rng.choice((0, 1, 1, 2)))
    return finish(rng, draft)


def diet(rng: random.Random, size: int) -> Case:
    """The cheapest meal that covers what is needed."""
    names = pick(rng, "foods", size)
    resources = _resources(rng, "nutrients", ("grams", "units", "mg", ""), size, (1, 25), ">=", (20, 260))
    objective = _objective(rng, "diet")
    costs = [_number(rng, 2, 30) for _ in names]
    domain = Domain.INTEGER if rng.random() < 0.5 else Domain.CONTINUOUS
    draft = Draft("diet", names, False, objective, costs, resources, domain, countable=False)
    add_sides(rng, draft, rng.choice((0, 0, 0, 1)) if size <= 3 else rng.choice((0, 1, 1)))
    return finish(rng, draft)


def knapsack(rng: random.Random, size: int) -> Case:
    """Which items to take under a limit."""
    names = pick(rng, "items", size + 1)
    measure, unit = rng.choice(
        (("weight", "kg"), ("volume", "liters"), ("space", "units"), ("budget", "dollars"), ("load", "pounds"))
    )
    weights = [float(rng.randint(2, 40)) for _ in names]
    room = float(int(sum(weights) * rng.uniform(0.4, 0.7)) + 1)
    objective = _objective(rng, "knapsack")
    values = [float(rng.randint(5, 99)) for _ in names]
    draft = Draft("knapsack", names, True, objective, values, [], Domain.BINARY, countable=False)
    draft.resources = [Resource(measure, unit, weights, "<=", room)]
    draft.is_money = rng.random() < 0.3
    return finish(rng, draft)


def blending(rng: random.Random, size: int) -> Case:
    """The cheapest blend with the required contents."""
    names = pick(rng, "ingredients", size)
    parts = pick(rng, "components", 1 if size <= 3 else rng.choice((1, 2)), invented_share=0.1, two_words=0.0)
    total = float(rng.choice((50, 80, 100, 120, 150, 200, 300)))
    resources, bounds = [], {}
    for part in parts:
        values = [float(rng.randint(2, 60)) for _ in names]
        percent = int(rng.uniform(0.3, 0.8) * max(values) + 0.2 * min(values))
        limit = phrase(rng, "blending", "content", percent=percent, part=part)
        resources.append(Resource(part, "percent", values, ">=", percent * total, limit))
        bounds[part] = f"{percent}*{int(total)}"
    blend = rng.choice(PHRASES["blending"]["blend"])
    costs = [_number(rng, 2, 40) for _ in names]
    draft = Draft("blending", names, False, "cost", costs, resources, Domain.CONTINUOUS, countable=False, blend=blend)
    draft.bounds = bounds
    draft.closing = rng.choice(PHRASES["blending"]["closing"])
    text = phrase(rng, "blending", "total", total=int(total))
    draft.sides.append((constraint("total", [1.0] * size, "==", total), text))
    return finish(rng, draft)


def fleet(rng: random.Random, size: int) -> Case:
    """How many trips or vehicles of each kind to use."""
    names = pick(rng, "vehicles", size)
    load = rng.choice(PHRASES["fleet"]["loads"])
    carry = [float(rng.choice((rng.randint(2, 20), rng.randint(10, 90)))) for _ in names]
    need = float(int(sum(carry) * rng.uniform(2.5, 8)))
    resources = [Resource(load, "", carry, ">=", need, phrase(rng, "fleet", "demand", bound=need, load=load))]
    if rng.random() < 0.4:
        kind, text = rng.choice(PHRASES["fleet"]["supplies"])
        use = [float(rng.randint(1, 6)) for _ in names]
        room = float(int(need / min(carry) * max(use) * rng.uniform(0.5, 1.0)) + 5)
        resources.append(Resource(kind, "", use, "<=", room, text.format(bound=printed(rng, room))))
    objective = _objective(rng, "fleet")
    costs = [_number(rng, 5, 120) for _ in names]
    draft = Draft("fleet", names, False, objective, costs, resources, Domain.INTEGER, is_money=objective == "cost")
    draft.closing = closing(rng, Domain.INTEGER, "fleet")
    add_sides(rng, draft, rng.choice((0, 0, 1)))
    return finish(rng, draft)


def advertising(rng: random.Random, size: int) -> Case:
    """How many ads to run in each channel."""
    names = pick(rng, "channels", size)
    budget = float(rng.randint(10, 99) * 100)
    prices = [float(rng.randint(2, 60) * 10) for _ in names]
    objective = _objective(rng, "advertising")
    reached = [float(rng.randint(3, 90) * rng.choice((1, 10, 100))) for _ in names]
    resource = Resource("budget", "dollars", prices, "<=", budget)
    domain = Domain.INTEGER if rng.random() < 0.7 else Domain.CONTINUOUS
    draft = Draft("advertising", names, True, objective, reached, [resource], domain, is_money=False)
    add_sides(rng, draft, rng.choice((1, 1, 2)))
    return finish(rng, draft)


def _objective(rng: random.Random, family: str) -> str:
    return str(rng.choice(PHRASES[family]["objective"]))


def _number(rng: random.Random, low: int, high: int) -> float:
    """Draws a coefficient; about one in sixteen has a decimal."""
    value = float(rng.randint(low, high))
    return value + rng.choice((0.5, 0.2, 0.25)) if rng.random() < 0.06 else value


def _resources(
    rng: random.Random,
    theme: str,
    units: Sequence[str],
    size: int,
    values: tuple[int, int],
    operator: str,
    bounds: tuple[int, int],
) -> list[Resource]:
    """Draws the resources of a problem, few for a small one."""
    count = rng.choice((1, 2, 2)) if size <= 3 else rng.choice((2, 2, 3))
    resources = []
    for name in pick(rng, theme, count, invented_share=0.2, two_words=0.0):
        unit = rng.choice(units)
        used = [_number(rng, *values) for _ in range(size)]
        resources.append(Resource(name, unit, used, operator, float(rng.randint(*bounds))))
    return resources


LIST_FAMILIES: dict[str, Callable[[random.Random, int], Case]] = {
    family.__name__: family
    for family in (product_mix, diet, knapsack, blending, investment, fleet, set_cover, shifts, advertising)
}
