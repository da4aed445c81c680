"""The recipes that ship: they load, and `paper` has the paper's values."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from calmstorm.problems.splits import PAPER_SIZES
from calmstorm.settings import Recipe, load_recipe

RECIPES = resources.files("calmstorm") / "recipes"
NAMES = sorted(path.name.removesuffix(".toml") for path in RECIPES.iterdir())


def leaves(data: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, tuple(value) if isinstance(value, list) else value


def written(name: str) -> dict[str, object]:
    return dict(leaves(tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))))


def test_there_are_recipes_for_the_paper_one_gpu_and_a_laptop() -> None:
    assert NAMES == ["paper", "paper-1gpu", "paper-verl", "pocket"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_loads_under_its_own_name(name: str) -> None:
    assert load_recipe(name).name == name


def test_the_paper_s_recipe_writes_out_the_paper_s_values() -> None:
    paper = written("paper")
    defaults = dict(leaves(Recipe().model_dump()))
    ours = {key for key, value in paper.items() if value != defaults[key]}
    assert ours == {
        "prompt",
        "problems.source",
        "rollout.concurrency",
        "rollout.workers",
        "server.command",
        "server.instances",
        "server.sampled_logprobs",
        "intervener.kind",
        *("sft.processes", "sft.sharding"),
        *("rl.processes", "rl.sharding", "rl.generator", "rl.instances"),
    }
    assert (paper["problems.sft"], paper["problems.rl"]) == tuple(
        sum(getattr(sizes, part) for sizes in PAPER_SIZES.values()) for part in ("sft", "rl")
    )
    named = {
        *("rollout.response_tokens", "rollout.executions", "rollout.temperature", "rollout.top_p"),
        *("intervener.model", "intervener.temperature", "intervener.top_p", "curation.interventions"),
        *("sft.learning_rate", "sft.schedule", "sft.warmup_ratio", "sft.batch", "sft.epochs", "sft.sequence_tokens"),
        *("rl.learning_rate", "rl.epochs", "rl.prompts_per_step", "rl.mini_batch", "rl.kl", "rl.samples"),
        *("rl.temperature", "rl.prompt_tokens", "rl.response_tokens"),
        *("evaluation.samples", "evaluation.temperature", "evaluation.top_p", "evaluation.tolerance"),
    }
    assert named <= paper.keys()


def test_one_gpu_changes_training_and_pace_and_nothing_that_is_measured() -> None:
    paper, single = written("paper"), written("paper-1gpu")
    changed = {key for key in paper.keys() & single.keys() if paper[key] != single[key]} | {*single} - {*paper}
    assert {key for key in changed if not key.startswith(("sft.", "rl."))} == {
        "name",
        "rollout.concurrency",
        "rollout.workers",
        "server.command",  # takes weights by NCCL or not
        "server.instances",
    }
    recipe = load_recipe("paper-1gpu")
    assert recipe.sft.lora_rank > 0
    assert recipe.rl.lora_rank > 0


def test_the_recipe_for_verl_is_the_paper_s_on_four_nodes_of_eight_gpus() -> None:
    paper, verl = written("paper"), written("paper-verl")
    keys = {key for key in paper.keys() | verl.keys() if paper.get(key) != verl.get(key)}
    assert {key: verl.get(key) for key in keys} == {
        "name": "paper-verl",
        "rl.engine": "verl",
        "rl.mode": "sync",
        "rl.nodes": 4,
        "rl.processes": 8,
        "rl.importance_cap": 2.0,
        "server.command": verl["server.command"],  # of servers that are not sent weights
        **dict.fromkeys(("rl.sharding", "rl.generator", "rl.instances", "rl.sync")),  # of engine trl
    }
