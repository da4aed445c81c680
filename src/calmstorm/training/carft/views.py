"""Which sets of written tokens of a trajectory are embedded.

Every rollout that was graded, and every annotated trajectory, has a view of all its written tokens. The variants with
negatives also take a wrong rollout and the annotated trajectory of its problem apart, along the longest common
subsequence of their written tokens: `shared` and `own` tokens of the rollout, and the tokens of the annotated
trajectory that are `missing` in the rollout. Execution output is in no view: nobody wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rapidfuzz.distance import LCSseq

from calmstorm.settings import CarftSettings

ANNOTATED = -1
"""In place of the sample: the annotated trajectory of a problem."""


class ViewKind(StrEnum):
    """What a view selects."""

    WHOLE = "whole"
    """All written tokens."""
    SHARED = "shared"
    """Tokens of a wrong rollout that are in the annotated trajectory too, in the same order."""
    OWN = "own"
    """Tokens of a wrong rollout that are not."""
    MISSING = "missing"
    """Tokens of the annotated trajectory that a wrong rollout lacks."""


@dataclass(frozen=True)
class ViewKey:
    """Which view an embedding is of; unique within a batch."""

    kind: ViewKind
    problem_id: str
    sample: int
    """Of the rollout, also where tokens of the annotated trajectory are what it lacks; `ANNOTATED` for the whole of
    that trajectory."""
    correct: bool
    """Whether that rollout earned the full reward; True for the whole annotated trajectory."""


@dataclass(frozen=True)
class View:
    """A set of written tokens of one trajectory."""

    key: ViewKey
    tokens: tuple[bool, ...]
    """As many as the response has: True where the token is in the view. Never all False."""


@dataclass(frozen=True)
class Response:
    """A response as token ids, with who wrote them."""

    token_ids: tuple[int, ...]
    written: tuple[bool, ...]
    """As many as `token_ids`."""


@dataclass(frozen=True)
class Comparison:
    """A rollout taken apart along the longest common subsequence with the annotated trajectory."""

    shared: tuple[bool, ...]
    """Over the rollout's tokens."""
    own: tuple[bool, ...]
    """Over the rollout's tokens."""
    missing: tuple[bool, ...]
    """Over the annotated trajectory's tokens."""


@dataclass(frozen=True)
class Attempt:
    """A rollout of a problem."""

    response: Response
    correct: bool | None
    """Whether it earned the full reward. None: it was not graded, says nothing about the model, and has no view."""


def group_views(
    settings: CarftSettings, problem_id: str, annotated: Response | None, attempts: Sequence[Attempt]
) -> list[list[View]]:
    """Returns the views of all rollouts of a problem, and of its annotated trajectory.

    Args:
        settings: Which variant is learned.
        problem_id: Of the problem.
        annotated: None where the problem has none: its rollouts are still told apart from those of others.
        attempts: By sample.

    Returns:
        The views of each rollout, in their order, and last those of the annotated trajectory.
    """
    views: list[list[View]] = []
    missing: dict[int, tuple[bool, ...]] = {}
    for sample, attempt in enumerate(attempts):
        parts = None
        if annotated is not None and needs_comparison(settings, attempt.correct):
            parts = compare(annotated, attempt.response)
            missing[sample] = parts.missing
        views.append(rollout_views(settings, problem_id, sample, attempt, parts))
    return [*views, [] if annotated is None else annotated_views(problem_id, annotated, missing)]


def compare(annotated: Response, rollout: Response) -> Comparison:
    """Takes a rollout apart along the longest common subsequence of written tokens.

    Two responses of 16,384 tokens take about 0.1 s. Of several such subsequences one is taken, always the same.
    """
    places, others = _written(annotated), _written(rollout)
    edits = LCSseq.editops([annotated.token_ids[at] for at in places], [rollout.token_ids[at] for at in others])
    missing = {places[edit.src_pos] for edit in edits if edit.tag == "delete"}
    own = {others[edit.dest_pos] for edit in edits if edit.tag == "insert"}
    return Comparison(
        shared=_mask(len(rollout.token_ids), {*others} - own),
        own=_mask(len(rollout.token_ids), own),
        missing=_mask(len(annotated.token_ids), missing),
    )


def rollout_views(
    settings: CarftSettings,
    problem_id: str,
    sample: int,
    attempt: Attempt,
    comparison: Comparison | None,
) -> list[View]:
    """Returns the views of a rollout.

    Args:
        settings: Which variant is learned.
        problem_id: Of the rollout.
        sample: Of the rollout.
        attempt: The rollout.
        comparison: With the annotated trajectory of its problem; see `needs_comparison`.
    """
    if attempt.correct is None:
        return []
    kinds = {ViewKind.WHOLE: attempt.response.written}
    if comparison is not None and needs_comparison(settings, attempt.correct):
        kinds |= {ViewKind.SHARED: comparison.shared, ViewKind.OWN: comparison.own}
    return _views(problem_id, sample, attempt.correct, kinds)


def annotated_views(problem_id: str, annotated: Response, missing: Mapping[int, tuple[bool, ...]]) -> list[View]:
    """Returns the views of an annotated trajectory.

    Args:
        problem_id: Of its problem.
        annotated: Its tokens.
        missing: For each wrong rollout of the problem that was compared with it, by sample, the tokens that it lacks.
    """
    views = _views(problem_id, ANNOTATED, True, {ViewKind.WHOLE: annotated.written})
    for sample, tokens in sorted(missing.items()):
        views += _views(problem_id, sample, False, {ViewKind.MISSING: tokens})
    return views


def needs_comparison(settings: CarftSettings, correct: bool | None) -> bool:
    """Returns whether a rollout is to be compared with the annotated trajectory of its problem."""
    return correct is False and settings.variant in ("negatives", "both")


def _views(problem_id: str, sample: int, correct: bool, kinds: Mapping[ViewKind, tuple[bool, ...]]) -> list[View]:
    return [View(ViewKey(kind, problem_id, sample, correct), tokens) for kind, tokens in kinds.items() if any(tokens)]


def _written(response: Response) -> list[int]:
    return [at for at, written in enumerate(response.written) if written]


def _mask(length: int, places: Iterable[int]) -> tuple[bool, ...]:
    mask = [False] * length
    for at in places:
        mask[at] = True
    return tuple(mask)
