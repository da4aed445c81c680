"""What models cost by a table of prices, and when a budget is spent."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from calmstorm.errors import InputError
from calmstorm.records import Usage
from calmstorm.settings import BudgetSettings, Price, Recipe


def cost(prices: Iterable[Price], model: str, usage: Usage) -> float:
    """Returns what a usage cost, US dollars; a model without a price costs nothing.

    Args:
        prices: Per million tokens.
        model: Its name, as the prices call it.
        usage: `prompt_tokens` are those that were sent over all requests, `completion_tokens` those that came back.
    """
    return next((_at(price, usage) for price in prices if price.model == model), 0.0)


def _at(price: Price, usage: Usage) -> float:
    return (usage.prompt_tokens * price.input + usage.completion_tokens * price.output) / 1e6


def reasoner_model(recipe: Recipe) -> str:
    """Returns the name by which prices know the Reasoner: its model on a server, else its directory or hub id."""
    return recipe.model or recipe.reasoner


def require_prices(recipe: Recipe) -> None:
    """Refuses a bound on cost where nothing has a price.

    Raises:
        InputError: The budget could never be spent.
    """
    models = {reasoner_model(recipe), recipe.intervener.model}
    if recipe.budget.cost is not None and not models & {price.model for price in recipe.prices}:
        names = " and ".join(sorted(models))
        raise InputError(
            f"budget.cost is {recipe.budget.cost:g}, but prices name neither of {names}: give a price, for example "
            f"--set 'prices=[{{model=\"{recipe.intervener.model}\", input=1.25, output=10}}]' (US dollars per million)"
        )


@dataclass(slots=True)
class Total:
    """A sum of usages."""

    sent: int = 0
    """Tokens of all requests."""
    drawn: int = 0
    """Tokens that came back."""
    seconds: float = 0.0
    cost: float = 0.0
    """US dollars."""

    def add(self, sent: int, drawn: int, seconds: float, cost: float) -> None:
        """Adds what one round or review took."""
        self.sent += sent
        self.drawn += drawn
        self.seconds += seconds
        self.cost += cost

    def usage(self) -> Usage:
        """Returns it as a record."""
        return Usage(
            prompt_tokens=self.sent,
            completion_tokens=self.drawn,
            seconds=round(self.seconds, 3),
            cost=round(self.cost, 6),
        )


@dataclass
class Spending:
    """What a curation has used, in this call and in those before it."""

    budget: BudgetSettings = field(default_factory=BudgetSettings)
    reasoner: Total = field(default_factory=Total)
    intervener: Total = field(default_factory=Total)
    started: float = field(default_factory=time.monotonic)

    def add_review(self, usage: Usage) -> None:
        """Counts what a review took."""
        self.intervener.add(usage.prompt_tokens, usage.completion_tokens, usage.seconds, usage.cost)

    @property
    def cost(self) -> float:
        """Of both, US dollars."""
        return self.reasoner.cost + self.intervener.cost

    def spent(self) -> str:
        """Returns which limit is reached, what was used and how to go on; "" while there is room."""
        budget, hours = self.budget, (time.monotonic() - self.started) / 3600
        if budget.cost is not None and self.cost >= budget.cost:
            return f"budget.cost is {budget.cost:g} dollars and {self.cost:.4g} are spent: raise it and resume"
        drawn = self.reasoner.drawn
        if budget.tokens is not None and drawn >= budget.tokens:
            return f"budget.tokens is {budget.tokens} and {drawn} were drawn: raise it and resume"
        if budget.hours is not None and hours >= budget.hours:
            return f"budget.hours is {budget.hours:g} and this call took {hours:.3g}: resume"
        return ""

    def remark(self) -> str:
        """Returns tokens and, where anything has a price, dollars, for the remark beside a bar."""
        tokens = f"{_short(self.reasoner.drawn)} tokens"
        return f"{tokens}, ${self.cost:.2f}" if self.cost else tokens


def _short(count: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)
