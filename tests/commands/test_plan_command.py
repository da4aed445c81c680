"""`calm plan`: bounds that follow from the recipe, and times only where a run gives them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calmstorm.cli import main
from calmstorm.commands.plan import bounds, seconds_like
from calmstorm.runs import RunDirectory
from calmstorm.settings import load_recipe


def test_the_bounds_are_products_of_the_recipe() -> None:
    recipe = load_recipe("pocket", {"problems.easy": "10", "problems.complex": "5", "evaluation.samples": "3"})
    stages = {stage.stage: stage for stage in bounds(recipe)}
    assert stages["evaluate base"].rollouts == 45
    assert stages["evaluate base"].tokens == 45 * recipe.rollout.response_tokens
    assert stages["rl"].rollouts == (recipe.rl.steps or 0) * recipe.rl.prompts_per_step * recipe.rl.samples


def test_times_grow_in_proportion_to_the_rollouts_of_a_past_run(tmp_path: Path) -> None:
    past = load_recipe("pocket")
    with RunDirectory(tmp_path / "past") as run:
        run.keep_config(past)
        run.append("timing", {"stage": "rl", "seconds": 100.0})
    longer = load_recipe("pocket", {"rl.steps": str(3 * (past.rl.steps or 0))})
    assert seconds_like(tmp_path / "past", bounds(longer)) == {"rl": 300.0}


def test_a_plan_without_a_past_run_gives_no_times(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "pocket", "--json"])
    assert ended.value.code == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert {stage["seconds"] for stage in stages} == {None}


def test_an_unknown_recipe_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "nonsense"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
