from __future__ import annotations

import time

import pytest

from calmstorm.settings import CarftSettings
from calmstorm.settings.seeds import derive_seed
from calmstorm.training.carft.views import (
    ANNOTATED,
    Attempt,
    Response,
    ViewKey,
    ViewKind,
    annotated_views,
    compare,
    group_views,
    needs_comparison,
    rollout_views,
)


def response(text: str, unwritten: str = "") -> Response:
    return Response(tuple(map(ord, text)), tuple(letter not in unwritten for letter in text))


def selected(text: str, mask: tuple[bool, ...]) -> str:
    return "".join(letter for letter, keep in zip(text, mask, strict=True) if keep)


def test_a_rollout_is_taken_apart_along_the_longest_common_subsequence() -> None:
    parts = compare(response("abcdef"), response("xaczfy"))
    assert selected("xaczfy", parts.shared) == "acf"
    assert selected("xaczfy", parts.own) == "xzy"
    assert selected("abcdef", parts.missing) == "bde"


def test_execution_output_is_in_no_part_even_where_both_have_it() -> None:
    annotated, rollout = response("ab##cd", "#"), response("a##cx", "#")
    parts = compare(annotated, rollout)
    assert selected("a##cx", parts.shared) == "ac"
    assert selected("a##cx", parts.own) == "x"
    assert selected("ab##cd", parts.missing) == "bd"


@pytest.mark.parametrize("variant", ["positives", "negatives", "both", "pull"])
def test_views_of_each_variant(variant: str) -> None:
    settings = CarftSettings.model_validate({"variant": variant})
    annotated, wrong = response("abcd"), response("axd")
    parts = compare(annotated, wrong)
    taken_apart = variant in ("negatives", "both")
    assert needs_comparison(settings, False) == taken_apart
    assert not needs_comparison(settings, True)
    assert not needs_comparison(settings, None)
    kinds = [view.key.kind for view in rollout_views(settings, "p", 3, Attempt(wrong, False), parts)]
    assert kinds == [ViewKind.WHOLE] + [ViewKind.SHARED, ViewKind.OWN] * taken_apart
    assert [view.key.kind for view in rollout_views(settings, "p", 3, Attempt(wrong, True), parts)] == [ViewKind.WHOLE]
    assert rollout_views(settings, "p", 3, Attempt(wrong, None), parts) == []
    views = annotated_views("p", annotated, {3: parts.missing})
    assert [view.key for view in views] == [
        ViewKey(ViewKind.WHOLE, "p", ANNOTATED, True),
        ViewKey(ViewKind.MISSING, "p", 3, False),
    ]
    assert selected("abcd", views[1].tokens) == "bc"


def test_a_view_without_tokens_does_not_exist() -> None:
    settings = CarftSettings(variant="both")
    annotated = response("abc")
    same, other = compare(annotated, annotated), compare(annotated, response("xyz"))
    assert [view.key.kind for view in rollout_views(settings, "p", 0, Attempt(annotated, False), same)] == [
        ViewKind.WHOLE,
        ViewKind.SHARED,
    ]
    assert [view.key.kind for view in rollout_views(settings, "p", 0, Attempt(response("xyz"), False), other)] == [
        ViewKind.WHOLE,
        ViewKind.OWN,
    ]
    assert len(annotated_views("p", annotated, {0: same.missing, 1: other.missing})) == 2
    assert rollout_views(settings, "p", 0, Attempt(response("##", "#"), False), None) == []


def test_a_group_without_an_annotated_trajectory_is_still_told_apart_from_others() -> None:
    attempts = [Attempt(response("axd"), False), Attempt(response("abd"), True), Attempt(response("b"), None)]
    one, other, failed, annotated = group_views(CarftSettings(variant="both"), "p", None, attempts)
    assert [view.key.kind for view in (*one, *other)] == [ViewKind.WHOLE, ViewKind.WHOLE]
    assert failed == annotated == []
    *rollouts, annotated = group_views(CarftSettings(variant="both"), "p", response("abcd"), attempts)
    assert [len(views) for views in rollouts] == [3, 1, 0]
    assert [(view.key.kind, view.key.sample) for view in annotated] == [(ViewKind.WHOLE, -1), (ViewKind.MISSING, 0)]


def test_two_responses_of_the_papers_length_are_compared_in_less_than_a_few_seconds() -> None:
    def long(name: str) -> Response:
        return Response(tuple(derive_seed(1, name, at) % 3000 for at in range(16384)), (True,) * 16384)

    one, other = long("one"), long("other")
    began = time.monotonic()
    parts = compare(one, other)
    assert time.monotonic() - began < 5
    assert sum(parts.shared) + sum(parts.own) == 16384
    assert sum(parts.missing) == 16384 - sum(parts.shared)
