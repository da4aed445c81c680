"""What a recipe becomes in verl's configuration; that verl accepts it is shown in tests/engines/test_verl_config.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from calmstorm.errors import InputError
from calmstorm.settings import Recipe, load_recipe
from calmstorm.training.verl.config import VerlTraining, changes, values


def training(device: str = "cuda", **rl: object) -> VerlTraining:
    given = {"engine": "verl", "nodes": 1, "processes": 1, **rl}
    recipe = load_recipe("paper-verl", {f"rl.{key}": str(value) for key, value in given.items()})
    return VerlTraining(recipe, "model", Path("/run/rl.work"), 1100, 11, device)


@pytest.mark.parametrize(
    ("objective", "aggregation", "expected", "scale", "normalised", "filtered", "high"),
    [
        ("grpo", "objective", "token-mean", None, True, False, 0.2),
        ("dapo", "objective", "token-mean", None, True, True, 0.28),
        ("carft", "objective", "token-mean", None, True, False, 0.2),
        ("dr_grpo", "objective", "seq-mean-token-sum-norm", 16384, False, False, 0.2),
        ("grpo", "sequence_mean", "seq-mean-token-mean", None, True, False, 0.2),
        ("grpo", "sequence_sum", "seq-mean-token-sum-norm", 16384, True, False, 0.2),
    ],
)
def test_an_objective_becomes_a_loss(
    objective: str,
    aggregation: str,
    expected: str,
    scale: int | None,
    normalised: bool,
    filtered: bool,
    high: float,
) -> None:
    given = values(training(objective=objective, aggregation=aggregation))
    actor = "actor_rollout_ref.actor"
    assert given[f"{actor}.loss_agg_mode"] == expected
    assert given[f"{actor}.loss_scale_factor"] == scale
    assert given["algorithm.norm_adv_by_std_in_grpo"] is normalised
    assert given["algorithm.filter_groups.enable"] is filtered
    assert (given[f"{actor}.clip_ratio_low"], given[f"{actor}.clip_ratio_high"]) == (0.2, high)


def test_the_paper_s_values_arrive() -> None:
    given = values(training(nodes=4, processes=8))
    assert {
        "data.train_batch_size": 64,
        "data.max_prompt_length": 3000,
        "data.max_response_length": 16384,
        "actor_rollout_ref.actor.ppo_mini_batch_size": 64,
        "actor_rollout_ref.actor.optim.lr": 1e-6,
        "actor_rollout_ref.actor.use_kl_loss": False,
        "actor_rollout_ref.actor.strategy": "fsdp2",
        "actor_rollout_ref.actor.use_dynamic_bsz": True,
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": 19384,
        "actor_rollout_ref.model.enable_gradient_checkpointing": True,
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.n": 8,
        "actor_rollout_ref.rollout.temperature": 0.6,
        "actor_rollout_ref.rollout.calculate_log_probs": True,
        "algorithm.rollout_correction.rollout_is": "token",
        "algorithm.rollout_correction.rollout_is_threshold": 2.0,
        "trainer.nnodes": 4,
        "trainer.n_gpus_per_node": 8,
        "trainer.total_training_steps": 1100,
        "trainer.total_epochs": 100,
        "trainer.save_freq": 10,
        "trainer.logger": ["console", "file"],
        "trainer.v1.trainer_mode": "sync",
        "trainer.resume_mode": "disable",
    }.items() <= given.items()


def test_kl_is_a_term_of_the_loss_where_it_is_on() -> None:
    given = values(training(kl=0.05))
    assert given["actor_rollout_ref.actor.use_kl_loss"] is True
    assert given["actor_rollout_ref.actor.kl_loss_coef"] == 0.05
    assert given["algorithm.use_kl_in_reward"] is False


def test_carft_has_one_gold_row_more_in_each_group() -> None:
    assert values(training(objective="carft"))["actor_rollout_ref.rollout.n"] == 9


def test_the_recipe_travels_whole_and_is_not_shown() -> None:
    given = training()
    assert Recipe.model_validate_json(str(values(given)["actor_rollout_ref.calmstorm"])) == given.recipe
    assert "actor_rollout_ref.calmstorm" not in changes(given)


def test_a_resumed_training_names_its_checkpoint() -> None:
    given = values(replace(training(), resume_from=Path("/run/rl.work/checkpoints/global_step_3")))
    assert given["trainer.resume_mode"] == "resume_path"
    assert given["trainer.resume_from_path"] == "/run/rl.work/checkpoints/global_step_3"


def test_a_cluster_that_is_joined_is_not_told_its_sizes() -> None:
    own = {key for key in values(training("cpu")) if key.startswith("ray_kwargs.ray_init.")}
    joined = {key for key in values(replace(training("cpu"), joins=True)) if key.startswith("ray_kwargs.ray_init.")}
    assert "ray_kwargs.ray_init.num_gpus" in own
    assert {key.split(".")[2] for key in joined} == {"runtime_env"}


def test_evaluations_are_made_where_there_are_held_out_problems() -> None:
    given = training(evaluation_steps=5)
    assert values(given)["trainer.test_freq"] == -1
    watched = values(replace(given, evaluates=True))
    assert (watched["trainer.test_freq"], watched["trainer.val_before_train"]) == (5, True)
    assert watched["trainer.save_freq"] == 10
    resumed = values(replace(given, evaluates=True, resume_from=Path("global_step_5")))
    assert resumed["trainer.val_before_train"] is False


def test_each_evaluation_has_a_checkpoint_where_it_chooses_the_weights() -> None:
    given = values(replace(training(evaluation_steps=5, keep="best"), evaluates=True))
    assert given["trainer.save_freq"] == 5
    assert given["trainer.max_actor_ckpt_to_keep"] is None  # the follower removes what nobody needs


def test_few_gpus_hand_their_memory_over_to_rollouts() -> None:
    key = "actor_rollout_ref.actor.fsdp_config.optimizer_offload"
    assert values(training(processes=4))[key] is True
    assert values(training(processes=8))[key] is False


@pytest.mark.parametrize(("nodes", "processes", "trains", "draws"), [(4, 8, (2, 8), (2, 8)), (1, 8, (1, 4), (1, 4))])
def test_asynchronous_rollouts_get_half_of_the_gpus(
    nodes: int, processes: int, trains: tuple[int, int], draws: tuple[int, int]
) -> None:
    given = values(training(mode="separate_async", nodes=nodes, processes=processes, mini_batch=16))
    rollout = "actor_rollout_ref.rollout"
    assert (given["trainer.nnodes"], given["trainer.n_gpus_per_node"]) == trains
    assert (given[f"{rollout}.nnodes"], given[f"{rollout}.n_gpus_per_node"]) == draws
    assert given["trainer.v1.separate_async.parameter_sync_step"] == 4
    assert given[f"{rollout}.checkpoint_engine.backend"] == "nccl"


@pytest.mark.parametrize(
    ("device", "rl", "said"),
    [
        ("cuda", {"sharding": "zero3"}, "rl.sharding is 'zero3'; engine 'verl' shards by FSDP2"),
        ("cuda", {"lora_rank": 8}, "rl.lora_rank is 8; with engine 'verl' all weights are trained"),
        ("cuda", {"mode": "separate_async"}, "'separate_async' with one GPU"),
        ("cpu", {"mode": "separate_async"}, "'separate_async' with one process"),
    ],
)
def test_what_this_engine_cannot_do_is_refused_in_one_line(device: str, rl: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        values(training(device, **rl))
    assert "\n" not in str(refused.value)
