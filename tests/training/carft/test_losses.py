"""The losses by hand, and against what the released code of CARFT does."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from calmstorm.settings import CarftSettings
from calmstorm.training.carft.losses import contrastive_loss, cotangents, partial_reward, similarities
from calmstorm.training.carft.views import ANNOTATED, ViewKey, ViewKind

PLAIN = CarftSettings(margin=0.0)


def whole(problem: str, sample: int, correct: bool) -> ViewKey:
    return ViewKey(ViewKind.WHOLE, problem, sample, correct)


def anchor(problem: str) -> ViewKey:
    return whole(problem, ANNOTATED, True)


def embeddings(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))


def cos(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(cosine_similarity(one, other, dim=0))


def released(annotated: torch.Tensor, rollouts: torch.Tensor, correct: torch.Tensor, settings: CarftSettings) -> float:
    """The source's formula, one rollout for each annotated trajectory, with its mask as it is meant."""
    cosines = cosine_similarity(annotated[:, None], rollouts[None], dim=-1)
    t = settings.temperature
    numerator = (cosines.diagonal().clamp(max=settings.similarity_cap) / t).exp()
    loss = -(numerator / (cosines / t).exp().sum(1)).log()
    return float((loss * correct).sum() / correct.sum())


def batch(correct: list[bool], seed: int = 0) -> tuple[torch.Tensor, list[ViewKey]]:
    """One annotated trajectory and one rollout for each of several problems."""
    names = [f"p{number}" for number in range(len(correct))]
    keys = [anchor(name) for name in names] + [
        whole(name, 0, right) for name, right in zip(names, correct, strict=True)
    ]
    return embeddings(len(keys), seed), keys


def test_positives_are_the_sources_formula_where_the_margin_is_zero() -> None:
    correct = [True, False, True, False]
    made, keys = batch(correct)
    expected = released(made[:4], made[4:], torch.tensor(correct).float(), PLAIN)
    assert float(contrastive_loss(made, keys, PLAIN)) == pytest.approx(expected, rel=1e-5)


def test_the_mask_of_correct_rollouts_counts_sample_by_sample() -> None:
    """The released code multiplies a (B, 1) mask with a (B,) loss: it becomes (B, B), and every sample counts alike."""
    losses = []
    for correct in ([True, False, False, False], [False, True, False, False]):
        made, keys = batch(correct)
        mask = torch.tensor(correct).float()
        losses.append(float(contrastive_loss(made, keys, PLAIN)))
        cosines = cosine_similarity(made[:4, None], made[None, 4:], dim=-1) / PLAIN.temperature
        per_sample = torch.logsumexp(cosines, 1) - cosines.diagonal().clamp(max=0.9 / 0.2)
        broadcast = (mask[:, None] * per_sample).sum() / mask.sum()
        assert float(broadcast) == pytest.approx(float(per_sample.sum()), rel=1e-5)  # the mask is without effect
        assert losses[-1] == pytest.approx(float(per_sample[correct.index(True)]), rel=1e-5)
    assert abs(losses[0] - losses[1]) > 0.1


def test_wrong_rollouts_learn_through_the_denominator_alone() -> None:
    """The released code gathers rollouts of other processes without gradient; here every negative has one."""
    made, keys = batch([True, False, False])
    made.requires_grad_()
    contrastive_loss(made, keys, PLAIN).backward()
    assert made.grad is not None
    anchors, rollouts = made.grad[:3], made.grad[3:]
    assert (rollouts.norm(dim=1) > 1e-3).all()
    assert anchors[0].norm() > 1e-3
    assert (anchors[1:] == 0).all()  # nothing correct was rolled out for these


def test_other_correct_rollouts_of_the_problem_are_no_negatives() -> None:
    keys = [anchor("p"), whole("p", 0, True), whole("p", 1, True), whole("p", 2, False), whole("q", 0, True)]
    made = embeddings(len(keys))
    terms = []
    for own in (1, 2):
        exponents = [cos(made[0], made[place]) / 0.2 for place in (own, 3, 4)]
        terms.append(math.log(sum(map(math.exp, exponents))) - min(cos(made[0], made[own]), 0.9) / 0.2)
    assert float(contrastive_loss(made, keys, PLAIN)) == pytest.approx(sum(terms) / 2, rel=1e-5)


def test_a_margin_is_added_to_negatives() -> None:
    made, keys = batch([True, False])
    positive, negative = cos(made[0], made[2]) / 0.2, (cos(made[0], made[3]) + 0.3) / 0.2
    expected = math.log(math.exp(positive) + math.exp(negative)) - positive
    with_margin = contrastive_loss(made, keys, CarftSettings(margin=0.3))
    assert float(with_margin) == pytest.approx(expected, rel=1e-5)
    assert with_margin > contrastive_loss(made, keys, PLAIN)


def test_a_positive_that_is_close_enough_is_pulled_no_closer() -> None:
    made, keys = batch([True, False])
    made[2] = made[0] + 0.05 * made[2]
    assert cos(made[0], made[2]) > 0.95
    made.requires_grad_()
    contrastive_loss(made, keys, PLAIN).backward()
    assert made.grad is not None
    step = made.detach() - 1e-2 * made.grad
    assert cos(step[0], step[2]) <= cos(made[0].detach(), made[2].detach())


def test_negatives_hold_the_shared_part_to_what_is_missing_and_off_what_is_its_own() -> None:
    kinds = (ViewKind.SHARED, ViewKind.OWN, ViewKind.MISSING)
    keys = [anchor("p"), *(ViewKey(kind, "p", 1, False) for kind in kinds)]
    made = embeddings(len(keys))
    settings = CarftSettings(variant="negatives", margin=0.1)
    positive, negative = cos(made[1], made[3]) / 0.2, (cos(made[1], made[2]) + 0.1) / 0.2
    expected = math.log(math.exp(positive) + math.exp(negative)) - positive
    assert float(contrastive_loss(made, keys, settings)) == pytest.approx(expected, rel=1e-5)
    for left_out in (1, 2, 3):
        rest = [place for place in range(4) if place != left_out]
        assert float(contrastive_loss(made[rest], [keys[place] for place in rest], settings)) == 0


def test_both_is_the_average() -> None:
    made, keys = batch([True, False])
    keys += [ViewKey(kind, "p1", 0, False) for kind in (ViewKind.SHARED, ViewKind.OWN, ViewKind.MISSING)]
    made = torch.cat([made, embeddings(3, seed=1)])
    one, other, both = (
        float(contrastive_loss(made, keys, CarftSettings.model_validate({"variant": variant})))
        for variant in ("positives", "negatives", "both")
    )
    assert one != other
    assert both == pytest.approx((one + other) / 2, rel=1e-6)


def test_pull_moves_rollouts_and_not_the_annotated_trajectory() -> None:
    made, keys = batch([True, False])
    made.requires_grad_()
    loss = contrastive_loss(made, keys, CarftSettings(variant="pull"))
    expected = [1 - min(cos(made[at].detach(), made[at + 2].detach()), 0.9) for at in range(2)]
    assert float(loss.detach()) == pytest.approx(sum(expected) / 2, rel=1e-5)
    loss.backward()
    assert made.grad is not None
    assert (made.grad[:2] == 0).all()
    assert (made.grad[2:].norm(dim=1) > 1e-3).all()


@pytest.mark.parametrize("variant", ["positives", "negatives", "both", "pull"])
@pytest.mark.parametrize(
    "keys",
    [
        [],
        [anchor("p")],
        [whole("p", 0, True), whole("q", 0, False)],
        [anchor("p"), whole("q", 0, True), whole("r", 1, False)],
    ],
    ids=["no views", "no rollouts", "no annotations", "none of their problems"],
)
def test_where_nothing_can_be_learned_loss_and_derivatives_are_exactly_zero(variant: str, keys: list[ViewKey]) -> None:
    loss, derivative = cotangents(embeddings(len(keys)), keys, CarftSettings.model_validate({"variant": variant}))
    assert loss == 0
    assert derivative.shape == (len(keys), 16)
    assert (derivative == 0).all()


def test_all_wrong_and_nothing_to_tell_apart_are_zero_too() -> None:
    made, keys = batch([False, False])
    assert float(contrastive_loss(made, keys, PLAIN)) == 0
    assert float(contrastive_loss(made[:2], [anchor("p"), whole("p", 0, True)], PLAIN)) == 0


def test_similarities_are_cosines_with_the_annotated_trajectory_of_the_problem() -> None:
    made, keys = batch([True, False])
    keys[0] = anchor("elsewhere")
    assert similarities(made, keys) == {("p1", 0): pytest.approx(cos(made[1], made[3]), rel=1e-5)}


def test_partial_rewards() -> None:
    none, flat, cosine = (CarftSettings.model_validate({"partial_reward": name}) for name in ("none", "flat", "cosine"))
    assert partial_reward(none, 0.5) == 0
    assert partial_reward(flat, 0.5) == pytest.approx(0.1)
    assert partial_reward(cosine, 0.5) == pytest.approx(0.25)
    assert partial_reward(cosine, None) == pytest.approx(0.2)
