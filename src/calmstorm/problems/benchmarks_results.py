"""Which of several named results is the objective, and when that is doubtful (ReSocratic's OptiBench, NL4OPT-E).

The flat copies of these sets take the last entry. It is usually the objective, but it may be a decision ("units from
Atlanta to region 3") or the answer to a second question. The names of the entries and what the question asks for tell
most such rows; a doubtful row is reported, not repaired by guessing. Developed on OptiBench itself, so its hit rate on
other sets is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_NAMES_AN_OBJECTIVE = re.compile(r"objective|optimal|optimum|maxim|minim|total|profit|cost|revenue", re.IGNORECASE)
_SURELY_AN_OBJECTIVE = re.compile(r"objective|maxim|minim|profit|cost|revenue", re.IGNORECASE)
_ASKED = re.compile(
    r"(?:maximi[sz]e|minimi[sz]e|maximum|minimum|reduce|fewest|employ the)\s+((?:[\w'-]+\s*){1,9})", re.IGNORECASE
)
_ENDINGS = re.compile(r"(?:ies|es|s|ing|ed|d|e)$")
_SAYS_NOTHING = frozenset(
    """the and for that with per each can could will which should they their his she are not
    number amount quantity total maximum minimum maximized minimized maximize minimize optimal best largest smallest
    highest lowest expected value overall average final objective result new used use needed need required achieved
    produced made taken day daily weekly unit units from""".split()  # noqa: SIM905  reads as prose
)


class Choice(NamedTuple):
    """The entry taken as the objective."""

    entry: str
    doubt: str
    """Why the last entry is not, or may not be, the objective; empty where it plainly is."""


def choose_objective(question: str, results: Mapping[str, object]) -> Choice:
    """Returns the entry of `results` that answers what `question` asks to optimize.

    Args:
        question: The text of the problem.
        results: Named results in the order of the file; at least one.
    """
    entries = list(results)
    last = entries[-1]
    named = [entry for entry in entries if _NAMES_AN_OBJECTIVE.search(entry)]
    if named and named[-1] != last:
        return Choice(named[-1], f"the last entry, '{last}', is not the objective")
    if len(entries) == 1:
        return Choice(last, "")
    if _bare(last, "new ") in {_bare(entry, "the ") for entry in entries[:-1]} and last.lower().startswith("new "):
        return Choice(last, f"two questions are asked; '{last}' answers the second")
    if _SURELY_AN_OBJECTIVE.search(last):
        return Choice(last, "")
    asked = {word for phrase in _ASKED.findall(question) for word in _words(phrase)}
    if not asked:
        alike = re.sub(r"\d+", "", last) == re.sub(r"\d+", "", entries[-2])
        return Choice(last, f"no entry is named as the objective; '{last}' is a decision" if alike else "")
    answering = [entry for entry in entries[:-1] if _words(entry) and asked.issuperset(_words(entry))]
    if len(answering) == 1 and not asked.issuperset(_words(last)):
        return Choice(answering[0], f"'{answering[0]}' is asked for, not the last entry, '{last}'")
    words = _words(last)
    if "total" not in last.lower() and (not words or words[0] not in asked):
        return Choice(last, f"the last entry, '{last}', is not what is asked for")
    return Choice(last, "")


def _bare(entry: str, article: str) -> str:
    return entry.lower().removeprefix(article)


def _words(text: str) -> list[str]:
    """Returns the stems of the words that tell one quantity from another."""
    words = re.findall(r"[a-z]{3,}", text.lower())
    return [_ENDINGS.sub("", word)[:5] for word in words if word not in _SAYS_NOTHING]
