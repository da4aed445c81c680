"""A transcript laid out for reading: what each author wrote, and what the hints replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calmstorm.records import Intervention, Span, SpanKind, Trajectory


@dataclass(frozen=True)
class Passage:
    """A stretch of a transcript as it is shown."""

    kind: str
    """`text`, `code`, `output`, `hint` or `dropped`."""
    text: str
    rest: str = ""
    """Of a dropped passage: what followed the flawed target and was dropped with it."""
    intervention: Intervention | None = None
    """Of a hint or a dropped passage: the intervention that made it."""


def annotate(rounds: dict[int, Trajectory], hints: Sequence[Intervention]) -> tuple[tuple[Passage, ...], int]:
    """Lays the dropped passages back into the last round's transcript, each before the hint that replaced it.

    Args:
        rounds: the trajectories of one attempt, by round.
        hints: the interventions of that attempt.

    Returns:
        The passages to show, and how many hints a later intervention cut away again.
    """
    last = max(rounds)
    made = sorted((hint for hint in hints if hint.round < last and hint.round in rounds), key=lambda hint: hint.round)
    surviving = [
        hint for index, hint in enumerate(made) if all(later.position > hint.position for later in made[index + 1 :])
    ]
    pending = list(surviving)
    passages: list[Passage] = []
    offset = 0
    for span in rounds[last].spans:
        cut = _cut_behind(span, offset, pending)
        if cut is not None:
            pending.remove(cut)
            passages.append(_dropped(cut, rounds[cut.round].response))
        passages.append(Passage(span.kind.value, span.text, intervention=cut))
        offset += len(span.text)
    return tuple(passages), len(made) - len(surviving)


def _cut_behind(span: Span, offset: int, pending: Sequence[Intervention]) -> Intervention | None:
    """The intervention a hint span came from: at this offset, else the next (a splice may trim white space)."""
    if span.kind is not SpanKind.HINT or not pending:
        return None
    return next((hint for hint in pending if hint.position == offset), pending[0])


def _dropped(hint: Intervention, response: str) -> Passage:
    tail = response[hint.position :]
    target = hint.target if tail.startswith(hint.target) else tail
    return Passage("dropped", target, rest=tail[len(target) :], intervention=hint)
