"""How a plan is spoilt (triggers 5 and 6), and how often the pocket Reasoner shows each of the seven flaws.

The rates are a design of this demonstration, not a measurement of any large model: habits differ by family so that some
are rare, some are coin flips and some are nearly fixed. A habit below about one in four all but vanishes at the paper's
temperature of 0.6, which sharpens mixtures.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from enum import StrEnum

from calmstorm.pocket.plan import Plan, PlanRow
from calmstorm.problems.case import Layout
from calmstorm.records import Domain, Sense


class Spoilt(StrEnum):
    """What is wrong with a spoilt plan."""

    SENSE = "sense"
    DOMAIN = "domain"
    DROPPED = "dropped"
    OPERATOR = "operator"
    NUMBER = "number"


@dataclass(frozen=True)
class Mistake:
    """A spoilt plan and what is wrong with it."""

    plan: Plan
    kind: Spoilt
    row: str = ""
    """Name of the row concerned, if one is."""


@dataclass(frozen=True)
class Habits:
    """Probability of each flaw where it can occur, and of noticing one's own mistake."""

    by_hand: float = 0.05
    fragments: float = 0.04
    recheck: float = 0.12
    no_reflection: float = 0.5
    modeling: float = 0.10
    coding: float = 0.08
    no_box: float = 0.07
    catch: float = 0.35
    """Probability of noticing a modelling or coding mistake while reflecting."""
    recover: float = 0.15
    """Probability of turning away from solving by hand or from fragments unprompted."""


_DEFAULT = Habits()
HABITS: dict[str, Habits] = {
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
NO_FLAWS = Habits(0, 0, 0, 0, 0, 0, 0)


def make_mistake(rng: random.Random, plan: Plan, *, in_code: bool = False) -> Mistake:
    """Returns a spoilt copy of a plan; misread numbers occur in code only, where they are slips of copying."""
    options = [Spoilt.SENSE]
    if plan.domain is not Domain.CONTINUOUS and plan.layout is not Layout.MATRIX:
        options += [Spoilt.DOMAIN] * 4
    if len(plan.rows) > 1:
        options += [Spoilt.DROPPED] * 2
    if plan.layout is Layout.LIST:
        options.append(Spoilt.OPERATOR)
        if in_code:
            options.append(Spoilt.NUMBER)
    kind = rng.choice(options)
    if kind is Spoilt.SENSE:
        return Mistake(replace(plan, sense=Sense.MINIMIZE if plan.sense is Sense.MAXIMIZE else Sense.MAXIMIZE), kind)
    if kind is Spoilt.DOMAIN:
        return Mistake(replace(plan, domain=Domain.CONTINUOUS), kind)
    index = rng.randrange(len(plan.rows))
    row = plan.rows[index]
    others = list(plan.rows)
    if kind is Spoilt.DROPPED:
        del others[index]
    elif kind is Spoilt.OPERATOR:
        others[index] = replace(row, operator=">=" if row.operator == "<=" else "<=")
    else:
        others[index] = _misread(rng, row)
    return Mistake(replace(plan, rows=tuple(others)), kind, row.name)


def _misread(rng: random.Random, row: PlanRow) -> PlanRow:
    """Changes one nonzero coefficient of a row."""
    index = rng.choice([i for i, value in enumerate(row.coefficients) if value])
    values = list(row.coefficients)
    values[index] = float(rng.choice([v for v in range(2, 60) if v != values[index]]))
    return replace(row, coefficients=tuple(values))
