"""Token modification: how much of a first attempt had to change until it was golden.

Beside the share of inserted tokens (`edited_share`), which counts the hints alone, this counts all that changed: what
the hints cut away and what the Reasoner wrote anew behind them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from calmstorm.records import Trajectory


def token_modification(first: Trajectory, golden: Trajectory) -> float:
    """Returns the edit distance between two responses over the length of the longer one, in [0, 1].

    It is Levenshtein's: tokens inserted, deleted or replaced, whoever wrote them; of characters where a response has no
    token ids. A response that needed no hint has 0.

    Args:
        first: The first attempt; where steps are reviewed, it ends at its first flaw.
        golden: The last round of the same sample.
    """
    from rapidfuzz.distance import Levenshtein  # takes a while to import, and few commands need it

    one, other = _tokens(first), _tokens(golden)
    if one is None or other is None:
        return float(Levenshtein.normalized_distance(first.response, golden.response))
    return float(Levenshtein.normalized_distance(one, other))


def _tokens(trajectory: Trajectory) -> Sequence[Hashable] | None:
    """Returns the token ids of a response; None where a span has none."""
    ids: list[int] = []
    for span in trajectory.spans:
        if span.token_ids is None:
            return None
        ids += span.token_ids
    return ids
