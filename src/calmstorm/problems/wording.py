"""Turning numbers and names into English, with many ways to say each thing.

A problem's wording is drawn part by part (who acts, how the data are laid out, how a limit is put, what is asked), so
that no two problems of a family need read alike. Nouns and phrases stand in `vocabulary.toml`. Made-up words keep a
small model from learning the list instead of learning to copy: what a problem calls its products does not matter to
its mathematics.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import Any

from calmstorm.records import Domain

_VOCABULARY = tomllib.loads((resources.files("calmstorm.problems") / "vocabulary.toml").read_text(encoding="utf-8"))
NOUNS: dict[str, list[str]] = {theme: nouns.split() for theme, nouns in _VOCABULARY.pop("nouns").items()}
"""By theme."""
PHRASES: dict[str, dict[str, list[Any]]] = _VOCABULARY
"""By family (or `common`) and kind; texts with fields in braces, or rows of texts that belong together."""


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


def phrase(rng: random.Random, family: str, kind: str, **values: object) -> str:
    """Returns one of the phrases of a kind, filled in; a float is printed after the phrase was chosen."""
    form = rng.choice(PHRASES[family][kind])
    texts = {name: printed(rng, value) if isinstance(value, float) else value for name, value in values.items()}
    return str(form.format(**texts))


def intro(rng: random.Random, family: str, **values: object) -> str:
    """Returns the sentence that says who decides what."""
    form = rng.choice(PHRASES[family]["intro"])
    return str(form.format(actor=rng.choice(PHRASES["common"]["actors"]), **values))


def closing(rng: random.Random, domain: Domain, family: str = "") -> str:
    """Returns the sentence on the domain of the variables: a common one, or one of the family's own."""
    return str(rng.choice([*PHRASES["common"][domain], *PHRASES.get(family, {}).get("closing", [])]))


def question(rng: random.Random, maximize: bool, objective: str) -> str:
    """Returns the sentence that asks for the optimum."""
    return phrase(rng, "common", "maximize" if maximize else "minimize", objective=objective)


def pick(
    rng: random.Random, theme: str, count: int, *, invented_share: float = 0.35, two_words: float = 0.1
) -> list[str]:
    """Draws `count` distinct names, some made up, some of two words."""
    names: list[str] = []
    made_up = rng.random() < invented_share
    while len(names) < count:
        name = _invented(rng) if made_up and rng.random() < 0.8 else rng.choice(NOUNS[theme])
        if theme in ("people", "places"):
            name = name.capitalize()
        elif rng.random() < two_words:
            name = f"{rng.choice(NOUNS['adjectives'])} {name}"
        if name not in names:
            names.append(name)
    return names


def _invented(rng: random.Random) -> str:
    """Returns a made-up lower-case word of two or three syllables."""
    while True:
        word = "".join(rng.choice(NOUNS["syllables"]) for _ in range(rng.choice((2, 2, 3))))
        if not word.endswith("s"):  # its plural must differ
            return word
