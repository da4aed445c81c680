"""Turning numbers and names into English, with many ways to say each thing.

A problem's wording is drawn part by part (who acts, how the data are laid out, how a limit is put, what is asked), so
that no two problems of a family need read alike.
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def number(value: float) -> str:
    """Returns a number as it is written in plans and code: at most two decimals, no trailing zeros."""
    rounded = round(float(value), 2)
    return str(int(rounded)) if rounded == int(rounded) else f"{rounded:.2f}".rstrip("0")


def printed(rng: random.Random, value: float) -> str:
    """Returns a number as a text prints it: thousands sometimes with a comma."""
    if value >= 1000 and value == int(value) and rng.random() < 0.5:
        return f"{int(value):,}"
    return number(value)


def money(rng: random.Random, value: float, style: str) -> str:
    """Returns an amount of money in one of the styles `$`, `dollars`, `euros`, `USD`."""
    text = printed(rng, value)
    return f"${text}" if style == "$" else f"{text} {style}"


def listing(parts: Sequence[str]) -> str:
    """Returns "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def plural(name: str) -> str:
    """Returns the plural of a countable name."""
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    if name.endswith("f") and not name.endswith("ff"):
        return name[:-1] + "ves"
    return name + "s"


def with_article(name: str) -> str:
    """Returns "a desk", "an oven"."""
    return ("an " if name[0].lower() in "aeiou" else "a ") + name


def sentence(text: str) -> str:
    """Returns the text with its first letter upper case."""
    return text[:1].upper() + text[1:]


def at_most(rng: random.Random, amount: str, what: str) -> str:
    """Returns a sentence that limits `what` from above; `amount` carries number and unit."""
    return sentence(
        rng.choice(
            (
                f"at most {amount} of {what} are available.",
                f"there are {amount} of {what} available.",
                f"only {amount} of {what} can be used.",
                f"no more than {amount} of {what} may be used.",
                f"the supply of {what} is limited to {amount}.",
                f"the total {what} cannot exceed {amount}.",
                f"total {what} used must not be more than {amount}.",
                f"{what} is limited to {amount}.",
                f"{amount} of {what} are on hand.",
                f"the available {what} is {amount}.",
                f"a maximum of {amount} of {what} can be spent.",
                f"we have {amount} of {what} per week.",
            )
        )
    )


def at_least(rng: random.Random, amount: str, what: str) -> str:
    """Returns a sentence that demands at least an amount of `what`."""
    return sentence(
        rng.choice(
            (
                f"at least {amount} of {what} are needed.",
                f"the total {what} must be at least {amount}.",
                f"a minimum of {amount} of {what} is required.",
                f"no less than {amount} of {what} must be provided.",
                f"we need {amount} or more of {what}.",
                f"{what} must reach {amount}.",
                f"not less than {amount} of {what} is acceptable.",
                f"the requirement for {what} is {amount} at minimum.",
                f"{amount} of {what} must be covered at least.",
            )
        )
    )


WHOLE = (
    "Only whole units are possible.|Units cannot be split.|All quantities must be whole numbers.|"
    "Fractions make no sense here.|Each quantity must be an integer.|Nothing can be done in part.|"
    "Only full units count."
).split("|")
FRACTIONAL = (
    "Fractional amounts are allowed.|Any fraction is possible.|Quantities need not be whole.|Partial amounts are fine.|"
    "Amounts can be any nonnegative number.|Everything can be divided freely."
).split("|")
EITHER_OR = (
    "Each one is either taken or left.|Each can be chosen once or not at all.|Every choice is yes or no.|"
    "There is only one of each.|Nothing can be chosen twice or in part."
).split("|")


def question(rng: random.Random, maximize: bool, objective: str) -> str:
    """Returns the sentence that asks for the optimum."""
    if maximize:
        return rng.choice(
            (
                f"What is the maximum {objective}?",
                f"How large can the total {objective} be?",
                f"Find the best possible {objective}.",
                f"Maximize the total {objective}.",
                f"What is the highest {objective} that can be reached?",
                f"Determine the largest total {objective}.",
                f"How should one plan to maximize {objective}?",
                f"Which plan gives the most {objective}?",
                f"Compute the greatest achievable {objective}.",
            )
        )
    return rng.choice(
        (
            f"What is the minimum {objective}?",
            f"How small can the total {objective} be?",
            f"Find the lowest total {objective}.",
            f"Minimize the total {objective}.",
            f"What is the least {objective} that is possible?",
            f"Determine the smallest total {objective}.",
            f"How should one plan to minimize {objective}?",
            f"Which plan has the lowest {objective}?",
            f"Compute the least achievable {objective}.",
        )
    )
