from __future__ import annotations

import pytest

from calmstorm.errors import InputError
from calmstorm.settings import CarftSettings, Recipe, RlSettings
from calmstorm.training.verl.recipe import KEY, RowInfo, is_contrastive, recipe_of, rows_per_problem
from tests.training.tiny_model import coin_problems, golden


def recipe(objective: str, **carft: object) -> Recipe:
    return Recipe(rl=RlSettings(objective=objective, samples=4), carft=CarftSettings(**carft))


def test_the_recipe_is_read_back_from_verls_configuration() -> None:
    written = recipe("carft", variant="both")
    assert recipe_of({KEY: written.model_dump_json()}) == written


def test_a_configuration_without_a_recipe_is_refused_with_what_sets_it() -> None:
    with pytest.raises(InputError, match="calm rl --engine verl"):
        recipe_of({})


def test_a_group_has_an_annotated_row_only_where_carft_needs_embeddings() -> None:
    assert rows_per_problem(recipe("grpo")) == 4
    assert rows_per_problem(recipe("carft")) == 5
    assert rows_per_problem(recipe("carft", coefficient=0.0)) == 4
    assert not is_contrastive(recipe("carft", coefficient=0.0, partial_reward="flat"))


def test_a_row_gives_back_its_problem_and_its_annotated_trajectory() -> None:
    problem, annotated = coin_problems(1)[0], golden(1)
    row = RowInfo(
        index=0, problem=problem.model_dump_json(by_alias=True), annotated=annotated.model_dump_json(by_alias=True)
    )
    assert row.read_problem() == problem
    assert row.read_annotated() == annotated
    assert RowInfo(index=0, problem=row.problem).read_annotated() is None
