"""Where the recipe stands in verl's configuration, and what a row of the data says beside the prompt."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from calmstorm.errors import InputError
from calmstorm.records import GoldenTrajectory, Problem, Record
from calmstorm.settings import Recipe

KEY = "calmstorm"
"""`actor_rollout_ref.calmstorm` holds the recipe as JSON; that section reaches trainer, workers and agent loops."""

INTERPRETER_NAME = "calmstorm_interpreter_"
"""Beginning of the names of the actors that run code; the id of the node follows."""


def recipe_of(actor_rollout_ref: Any) -> Recipe:  # noqa: ANN401
    """Returns the recipe from a section `actor_rollout_ref` of verl's configuration.

    Raises:
        InputError: There is none.
    """
    text = actor_rollout_ref.get(KEY)
    if not text:
        raise InputError(
            f"actor_rollout_ref.{KEY} is not set; it must hold the recipe as JSON: use calm rl --engine verl"
        )
    return _parsed(str(text))


@lru_cache(maxsize=4)
def _parsed(text: str) -> Recipe:
    return Recipe.model_validate_json(text)


def is_contrastive(recipe: Recipe) -> bool:
    """Whether anything is embedded. Where nothing is, `carft` is `grpo` to the bit, but for partial rewards."""
    return recipe.rl.objective == "carft" and recipe.carft.coefficient > 0


def rows_per_problem(recipe: Recipe) -> int:
    """Returns the size of verl's groups, `rollout.n`: the rollouts of a problem, and its annotated trajectory."""
    return recipe.rl.samples + is_contrastive(recipe)


class RowInfo(Record):
    """The column `extra_info` of a row of training or validation data."""

    index: int
    """Of the row; verl asks for it."""
    problem: str
    """A `Problem` as JSON."""
    annotated: str = ""
    """A `GoldenTrajectory` of the problem as JSON, for CARFT; empty where there is none."""
    held_out: bool = False
    """Whether the row is evaluated on instead of trained on."""

    def read_problem(self) -> Problem:
        """Returns the problem of the row."""
        return Problem.model_validate_json(self.problem)

    def read_annotated(self) -> GoldenTrajectory | None:
        """Returns the annotated trajectory of the row's problem."""
        return GoldenTrajectory.model_validate_json(self.annotated) if self.annotated else None
