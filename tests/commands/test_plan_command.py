"""`calm plan`: bounds that follow from the recipe, and times only where a run or the user gives a pace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calmstorm.cli import main
from calmstorm.commands.plan import costs
from calmstorm.commands.plan_bounds import bounds, problem_counts
from calmstorm.commands.plan_geometry import Geometry, geometry_of
from calmstorm.commands.plan_time import Paces, seconds_at, seconds_like
from calmstorm.commands.plan_training import (
    CPU_LOGITS,
    KEPT_VALUES,
    TILE_TOKENS,
    TILE_VOCABULARY,
    needs,
    training_flops,
)
from calmstorm.problems.files import write_problems
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.records import LabelStatus, Problem
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


def plan_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *words, "--json"])
    assert ended.value.code == 0
    planned: dict[str, Any] = json.loads(capsys.readouterr().out)
    return planned


def test_the_problems_of_a_split_are_counted(tmp_path: Path) -> None:
    for part, count in (("sft", 4), ("rl", 2), ("test", 3)):
        problems = [
            Problem(id=str(number), question=f"{part} {number}?", answer=1.0, status=LabelStatus.OPTIMAL)
            for number in range(count)
        ]
        write_problems(tmp_path / f"{part}.jsonl", problems)
    recipe = load_recipe("paper", {"problems.source": str(tmp_path), "problems.sft": "3"})
    assert problem_counts(recipe) == (3, 2, 3, False)
    stages = {stage.stage: stage for stage in bounds(recipe)}
    assert stages["evaluate base"].rollouts == 3 * 8
    assert stages["curation"].rollouts == 3 * 6


def test_a_split_that_is_not_there_yet_is_taken_to_have_the_paper_s_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    planned = plan_of(capsys, "paper")
    assert planned["stages"][0]["rollouts"] == 540 * 8
    assert "549 for sft, 719 for rl, 540 for testing (data/paper is not there yet" in planned["assumptions"][0]


def test_a_pace_gives_the_hours_of_rollouts_by_what_takes_longer() -> None:
    recipe = load_recipe("paper")
    decoding = seconds_at(recipe, bounds(recipe), Paces(1000.0), None)
    assert decoding["curation"] == pytest.approx(549 * 6 * 16384 / 1000, abs=0.1)
    assert "sft" not in decoding
    assert seconds_at(recipe, bounds(recipe), Paces(1000.0, 0.01), None)["curation"] == 549 * 6 * 4 / 0.01


def test_a_pace_of_training_gives_the_hours_of_sft_and_of_updates() -> None:
    recipe = load_recipe("paper", {"problems.rl": "64", "rl.epochs": "1"})
    stages, drawn = bounds(recipe), 64 * 8
    alone = seconds_at(recipe, stages, Paces(train_tokens_per_second=500.0), None)
    assert alone == {"sft": 549 * 3 * 22000 / 500}
    both = seconds_at(recipe, stages, Paces(1000.0, train_tokens_per_second=500.0), None)
    assert both["rl"] == pytest.approx(drawn * 16384 / 1000 + drawn * (3000 + 16384) / 500, abs=0.1)


def test_arithmetic_gives_hours_by_processes(capsys: pytest.CaptureFixture[str]) -> None:
    geometry = geometry_of("Qwen/Qwen3-4B")
    assert geometry is not None
    per_token = training_flops(geometry, 1, 1)
    assert per_token == pytest.approx(8 * 4.02e9, rel=0.01)  # forward, backward twice as much, forward once more
    long = training_flops(geometry, 1, 22_000)
    assert long - training_flops(geometry, 1, 0) == pytest.approx(8 * 36 * 32 * 128 * 22_000)

    def hours(processes: int) -> float:
        words = ("--train-tflops", "300", "--set", f"sft.processes={processes}")
        stages = {stage["stage"]: stage for stage in plan_of(capsys, "paper", *words)["stages"]}
        return float(stages["sft"]["seconds"])

    assert hours(1) == pytest.approx(36_234_000 * long / 300e12, rel=1e-3)
    assert hours(8) == pytest.approx(hours(1) / 8, rel=1e-3)


def test_two_paces_at_once_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "paper", "--like", str(tmp_path), "--tokens-per-second", "5"])
    assert ended.value.code == 2
    assert "give --like or paces" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen3-0.6B", 0.6),
        ("Qwen/Qwen3-1.7B-Base", 1.7),
        ("Qwen/Qwen3-4B-Thinking-2507", 4.0),
        ("Qwen/Qwen3-8B", 8.2),
        ("Qwen/Qwen3-14B", 14.8),
        ("Qwen/Qwen3-32B", 32.8),
    ],
)
def test_the_sizes_of_qwen3_add_up_to_their_published_parameters(name: str, billions: float) -> None:
    geometry = geometry_of(name)
    assert geometry is not None
    assert geometry.parameters / 1e9 == pytest.approx(billions, abs=0.06)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-30B-A3B", "someone/model", "no such thing"])
def test_a_model_of_unknown_sizes_is_not_guessed(name: str) -> None:
    assert geometry_of(name) is None


def test_the_sizes_of_a_directory_are_those_of_its_weights() -> None:
    geometry = geometry_of(str(pocket_directory()))
    assert geometry is not None
    stored = (pocket_directory() / "model.safetensors").stat().st_size
    assert min(abs(stored / (width * geometry.parameters) - 1) for width in (2, 4)) < 0.02


def test_memory_follows_from_geometry() -> None:
    four = geometry_of("Qwen/Qwen3-4B")
    assert four is not None
    assert 2**30 // four.cache_numbers_per_token == 14563  # tokens in 2 GiB of bfloat16
    tiny = Geometry(layers=2, hidden=8, intermediate=16, heads=2, kv_heads=1, head_dim=4, vocabulary=32, tied=False)
    blocks = 2 * (8 * 8 + 4 * 8 + 4 * 8 + 8 * 8 + 3 * 16 * 8)
    assert tiny.parameters == 2 * 32 * 8 + blocks
    assert tiny.adapter_parameters(3) == 2 * 3 * (16 + 12 + 12 + 16 + 3 * 24)


def test_the_paper_s_model_fits_by_adapters_or_by_sharding(capsys: pytest.CaptureFixture[str]) -> None:
    def states(recipe: str, *words: str) -> float:
        needed = plan_of(capsys, recipe, *words)["memory_gib"]
        return float(sum(needed[f"sft_{part}"] for part in ("weights", "gradients", "optimizer")))

    alone = ("--set", "sft.processes=1", "--set", "sft.sharding=none")
    assert states("paper", *alone) > 60
    for sharding in ("zero3", "fsdp2"):
        spread = ("--set", "sft.processes=8", "--set", f"sft.sharding={sharding}")
        assert states("paper", *spread) == pytest.approx(16 * 4.02e9 / 8 / 2**30, rel=0.01)
    nodes = ("--set", "sft.processes=8", "--set", "sft.nodes=4", "--set", "sft.batch=32", "--set", "sft.sharding=zero3")
    assert states("paper", *nodes) == pytest.approx(16 * 4.02e9 / 32 / 2**30, rel=0.01)
    assert states("paper-1gpu") < 10
    with pytest.raises(SystemExit):
        main(["plan", "paper", *alone])
    assert "DOES NOT FIT" in capsys.readouterr().out


def test_rollouts_in_the_training_process_share_its_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    here = plan_of(capsys, "paper-1gpu", "--set", "rl.generator=process")["memory_gib"]
    assert here["rl_cache_of_one_sequence"] == pytest.approx(2 * 2 * 36 * 8 * 128 * 19384 / 2**30, rel=0.01)
    states = sum(here[f"rl_{part}"] for part in ("weights", "gradients", "optimizer"))
    assert here["rl_sequences_that_fit"] == int((72 - states) // here["rl_cache_of_one_sequence"])
    there = plan_of(capsys, "paper-1gpu", "--set", "rl.generator=server")["memory_gib"]
    assert "rl_sequences_that_fit" not in there


def test_activations_grow_with_tokens_and_logits_do_not() -> None:
    geometry = geometry_of("Qwen/Qwen3-4B")
    assert geometry is not None
    settings = load_recipe("paper", {"sft.sharding": "none", "sft.processes": "1"}).sft
    short, long = (needs(geometry, settings, tokens, rl=False) for tokens in (8192, 16384))
    assert long.activations == 2 * short.activations
    tile = 2 * 4096 * 32768
    head = 4 * 151936 * 2560
    assert short.loss > tile + head
    layer = 2 * 2560 + 2 * 9728 + 5 * 2560 + 4 * (32 + 8) * 128 + 4 * 9728
    assert long.loss - short.loss == 8192 * 4 * layer  # of which no part is the vocabulary's


def test_the_plan_knows_the_bounds_of_the_trainers() -> None:
    scoring = pytest.importorskip("calmstorm.training.cpu.scoring")
    session = pytest.importorskip("calmstorm.training.trl.session")
    kernel = pytest.importorskip("trl.kernels.chunked_logprob")
    utils = pytest.importorskip("trl.trainer.utils")
    assert (scoring.LOGITS, session.KEPT_VALUES) == (CPU_LOGITS, KEPT_VALUES)
    assert (kernel.TOKEN_CHUNK_SIZE, utils._CHUNKED_LOGPROB_CHUNK_SIZE) == (TILE_TOKENS, TILE_VOCABULARY)


def test_cost_is_reviews_times_lengths_times_prices() -> None:
    prices = '[{model = "judge", input = 2.0, output = 10.0}, {model = "served", output = 1.0}]'
    recipe = load_recipe(
        "paper", {"prices": prices, "intervener.model": "judge", "reasoner": "http://localhost:1", "model": "served"}
    )
    found = costs(recipe, bounds(recipe), 1000)
    reviews = 549 * 6
    assert found["judge"] == pytest.approx(reviews * ((3000 + 16384 + 3000) * 2.0 + 1000 * 10.0) / 1e6, abs=0.01)
    assert found["served"] == pytest.approx((540 * 8 + reviews) * 16384 * 1.0 / 1e6, abs=0.01)
    by_rules = load_recipe("paper", {"prices": prices, "intervener.model": "judge", "intervener.kind": "rules"})
    assert costs(by_rules, bounds(by_rules), 1000) == {}
