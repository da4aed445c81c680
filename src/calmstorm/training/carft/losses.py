"""The contrastive losses, over the embeddings of all views of a batch.

With z the embedding of a view, c its cosine, t the temperature, m the margin, cap the similarity cap:

    positives   mean over correct rollouts i of
                -log( exp(min(c(a, i), cap) / t) / (exp(c(a, i) / t) + sum over negatives j of exp((c(a, j) + m) / t)) )
                a: annotated trajectory of i's problem; j: all other graded rollouts of the batch, of every process,
                except other correct rollouts of the same problem
    negatives   mean over wrong rollouts i of the same quotient, with anchor `shared`, positive `missing` and the one
                negative `own` of i
    both        average of the two
    pull        mean over graded rollouts i of 1 - min(c(a, i), cap); the annotated embedding is not moved by it

With margin 0 `positives` is the source's formula: it caps the similarity in the numerator alone, and so do we. The
source has a margin of 0.2 but its formula does not say where; here it is added to negatives, so that a positive has to
be closer by that much. Choices of ours: the mask of correct rollouts counts sample by sample (in the released code it
has no such effect); what has nothing to be told apart from is left out; the pull is by cosine, where the sketch it
comes from takes a squared difference, which a head that shrinks all embeddings satisfies without learning.

Where nothing can be learned a loss is exactly 0, and so are its gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from calmstorm.settings import CarftSettings
from calmstorm.training.carft.views import ANNOTATED, ViewKey, ViewKind


@dataclass(frozen=True)
class _Contrast:
    """One term: places of anchor, positive and negatives among the embeddings."""

    anchor: int
    positive: int
    negatives: list[int]


def contrastive_loss(embeddings: torch.Tensor, keys: Sequence[ViewKey], settings: CarftSettings) -> torch.Tensor:
    """Returns the contrastive loss of a batch, a scalar that can be differentiated.

    Args:
        embeddings: (V, E), of the views of all rows of all processes.
        keys: Which view each row of `embeddings` is of.
        settings: Variant, temperature, margin, cap.
    """
    places = {key: place for place, key in enumerate(keys)}
    units = normalize(embeddings.float(), dim=-1)
    match settings.variant:
        case "positives":
            return _mean_contrast(units, _positives(places), settings)
        case "negatives":
            return _mean_contrast(units, _negatives(places), settings)
        case "both":
            losses = [_mean_contrast(units, of(places), settings) for of in (_positives, _negatives)]
            return (losses[0] + losses[1]) / 2
        case "pull":
            return _pull(units, places, settings)


def cotangents(
    embeddings: torch.Tensor, keys: Sequence[ViewKey], settings: CarftSettings
) -> tuple[float, torch.Tensor]:
    """Returns the contrastive loss of a batch and its derivative by each embedding.

    Adding `(z * derivative).sum()` over the views of any part of the batch gives that part's share of the gradient.

    Args:
        embeddings: (V, E), of the views of all rows of all processes, in the same order on each of them.
        keys: Which view each row of `embeddings` is of.
        settings: Variant, temperature, margin, cap.

    Returns:
        The loss and (V, E), float32; the coefficient is in neither. Rows of views that the loss does not use are 0.
    """
    with torch.enable_grad():
        leaves = embeddings.detach().float().requires_grad_()
        loss = contrastive_loss(leaves, keys, settings)
        if not loss.requires_grad:
            return 0.0, torch.zeros_like(leaves)
        (derivative,) = torch.autograd.grad(loss, leaves)
    return float(loss.detach()), derivative


def similarities(embeddings: torch.Tensor, keys: Sequence[ViewKey]) -> dict[tuple[str, int], float]:
    """Returns the cosine of each rollout's embedding with the annotated one of its problem, where there is one.

    Args:
        embeddings: (V, E), of all views.
        keys: Which view each row of `embeddings` is of.

    Returns:
        Cosines by problem id and sample.
    """
    places = {key: place for place, key in enumerate(keys)}
    units = normalize(embeddings.detach().float(), dim=-1)
    rollouts = _with_anchor(places)
    return {(key.problem_id, key.sample): float(units[place] @ units[anchor]) for key, place, anchor in rollouts}


def partial_reward(settings: CarftSettings, similarity: float | None) -> float:
    """Returns the reward of an answer that can be read but is wrong.

    Args:
        settings: `none`: 0. `flat`: 0.1. `cosine`: 0.2 + 0.1 x similarity.
        similarity: Cosine with the annotated trajectory; None where the problem has none, which counts as 0.
    """
    match settings.partial_reward:
        case "none":
            return 0.0
        case "flat":
            return 0.1
        case "cosine":
            return 0.2 + 0.1 * (similarity or 0.0)


def _with_anchor(places: dict[ViewKey, int]) -> list[tuple[ViewKey, int, int]]:
    """Returns key and place of each rollout's whole view, and the place of its annotated trajectory."""
    anchors = {key.problem_id: place for key, place in places.items() if _is_annotated(key)}
    return [
        (key, place, anchors[key.problem_id])
        for key, place in places.items()
        if key.kind is ViewKind.WHOLE and not _is_annotated(key) and key.problem_id in anchors
    ]


def _is_annotated(key: ViewKey) -> bool:
    return key.kind is ViewKind.WHOLE and key.sample == ANNOTATED


def _positives(places: dict[ViewKey, int]) -> list[_Contrast]:
    rollouts = [key for key in places if key.kind is ViewKind.WHOLE and not _is_annotated(key)]
    contrasts = []
    for key, place, anchor in _with_anchor(places):
        negatives = [places[other] for other in rollouts if other.problem_id != key.problem_id or not other.correct]
        if key.correct and negatives:
            contrasts.append(_Contrast(anchor, place, negatives))
    return contrasts


def _negatives(places: dict[ViewKey, int]) -> list[_Contrast]:
    contrasts = []
    for key, anchor in places.items():
        if key.kind is not ViewKind.SHARED:
            continue
        missing = places.get(ViewKey(ViewKind.MISSING, key.problem_id, key.sample, key.correct))
        own = places.get(ViewKey(ViewKind.OWN, key.problem_id, key.sample, key.correct))
        if missing is not None and own is not None:
            contrasts.append(_Contrast(anchor, missing, [own]))
    return contrasts


def _mean_contrast(units: torch.Tensor, contrasts: Sequence[_Contrast], settings: CarftSettings) -> torch.Tensor:
    """Returns the mean of all terms over unit vectors (V, E); exactly 0 where there are none."""
    if not contrasts:
        return units.new_zeros(())
    terms = []
    for contrast in contrasts:
        positive = units[contrast.anchor] @ units[contrast.positive]
        negatives = units[contrast.negatives] @ units[contrast.anchor] + settings.margin
        against = torch.cat([positive.unsqueeze(0), negatives]) / settings.temperature
        terms.append(torch.logsumexp(against, 0) - positive.clamp(max=settings.similarity_cap) / settings.temperature)
    return torch.stack(terms).mean()


def _pull(units: torch.Tensor, places: dict[ViewKey, int], settings: CarftSettings) -> torch.Tensor:
    pairs = _with_anchor(places)
    if not pairs:
        return units.new_zeros(())
    rollouts, anchors = [place for _, place, _ in pairs], [anchor for _, _, anchor in pairs]
    cosines = (units[rollouts] * units[anchors].detach()).sum(-1)
    return (1 - cosines.clamp(max=settings.similarity_cap)).mean()
