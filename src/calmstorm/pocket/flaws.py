"""Mistakes in a plan (triggers 5 and 6), and how often each of the seven flaws occurs in the pre-training traces.

The rates are a design of this demonstration, not a measurement of any large model: they differ by family so that some
flaws are rare, some occur in half of the traces and some in most. A flaw in fewer than about one in four traces hardly
shows at the paper's temperature of 0.6, which favours what is frequent.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum

from calmstorm.pocket.plan import Plan, PlanRow
from calmstorm.problems.case import Layout
from calmstorm.records import Domain, Sense


class MistakeKind(StrEnum):
    """What is wrong with a plan."""

    SENSE = "sense"
    DOMAIN = "domain"
    DROPPED = "dropped"
    OPERATOR = "operator"
    NUMBER = "number"


@dataclass(frozen=True)
class Mistake:
    """A wrong plan and what is wrong with it."""

    plan: Plan
    kind: MistakeKind
    row: str = ""
    """Name of the row concerned, if one is."""


@dataclass(frozen=True)
class FlawRates:
    """Probability of each flaw where it can occur, and of its correction without a hint."""

    by_hand: float = 0.05
    fragments: float = 0.04
    recheck: float = 0.12
    no_reflection: float = 0.5
    modeling: float = 0.10
    coding: float = 0.08
    no_box: float = 0.07
    notice: float = 0.35
    """Probability that a modelling or coding mistake is noticed in the reflection."""
    recover: float = 0.15
    """Probability that solving by hand, fragments or a recheck by hand are given up."""


_DEFAULT = FlawRates()
FLAW_RATES: dict[str, FlawRates] = {
    "product_mix": replace(_DEFAULT, modeling=0.5),
    "diet": replace(_DEFAULT, fragments=0.68),
    "knapsack": replace(_DEFAULT, by_hand=0.72),
    "blending": replace(_DEFAULT, coding=0.45),
    "investment": replace(_DEFAULT, modeling=0.42),
    "fleet": replace(_DEFAULT, no_box=0.62),
    "set_cover": replace(_DEFAULT, by_hand=0.5),
    "shifts": replace(_DEFAULT, fragments=0.5),
    "advertising": replace(_DEFAULT, modeling=0.45),
    "assignment": replace(_DEFAULT, recheck=0.55),
    "transportation": replace(_DEFAULT, recheck=0.4, no_box=0.35),
    "fixed_charge": replace(_DEFAULT, coding=0.5),
}
NO_FLAWS = FlawRates(0, 0, 0, 0, 0, 0, 0)


def make_mistake(rng: random.Random, plan: Plan, *, in_code: bool = False) -> Mistake:
    """Returns a wrong copy of a plan; misread numbers occur in code only, where they are errors of copying."""
    options = [MistakeKind.SENSE]
    if plan.domain is not Domain.CONTINUOUS and plan.layout is not Layout.MATRIX:
        options += [MistakeKind.DOMAIN] * 4
    if len(plan.rows) > 1:
        options += [MistakeKind.DROPPED] * 2
    if plan.layout is Layout.LIST:
        options.append(MistakeKind.OPERATOR)
        if in_code:
            options.append(MistakeKind.NUMBER)
    kind = rng.choice(options)
    if kind is MistakeKind.SENSE:
        return Mistake(replace(plan, sense=Sense.MINIMIZE if plan.sense is Sense.MAXIMIZE else Sense.MAXIMIZE), kind)
    if kind is MistakeKind.DOMAIN:
        return Mistake(replace(plan, domain=Domain.CONTINUOUS), kind)
    index = rng.randrange(len(plan.rows))
    row = plan.rows[index]
    if kind is MistakeKind.DROPPED:
        changed = []
    elif kind is MistakeKind.OPERATOR:
        changed = [replace(row, operator=">=" if row.operator == "<=" else "<=")]
    else:
        changed = [_misread(rng, row)]
    rows = (*plan.rows[:index], *changed, *plan.rows[index + 1 :])
    return Mistake(replace(plan, rows=rows), kind, row.name)


def _misread(rng: random.Random, row: PlanRow) -> PlanRow:
    """Changes one nonzero coefficient of a row."""
    index = rng.choice([position for position, value in enumerate(row.coefficients) if value])
    values = list(row.coefficients)
    values[index] = float(rng.choice([value for value in range(2, 60) if value != values[index]]))
    return replace(row, coefficients=tuple(values))
