"""From a recipe to the configuration of `verl.trainer.main_ppo`, checked by verl's own rules before anything starts.

What a recipe does not name keeps verl's default. docs/verl.md has the table of what each setting becomes.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.atomic import write_atomically
from calmstorm.errors import InputError
from calmstorm.settings import Recipe, RlSettings
from calmstorm.training.verl.plugin import AGENT_LOOP, CPU_ROLLOUT, VARIABLE
from calmstorm.training.verl.recipe import KEY, is_contrastive, rows_per_problem

if TYPE_CHECKING:
    from omegaconf import DictConfig

RECIPE = f"actor_rollout_ref.{KEY}"
PROJECT = "calmstorm"

CONFIG_NAME = "verl"
"""Stem of the file that `main_ppo` reads."""
TRAIN = "train.parquet"
HELD_OUT = "held_out.parquet"
CHECKPOINTS = "checkpoints"
ROLLOUTS = "rollouts"
EVALUATIONS = "evaluations"
METRICS = "metrics.jsonl"

CPU_WEIGHTS = "calmstorm"
"""Name of what carries weights without a GPU (`weights`), among verl's checkpoint engines."""
DAPO_CLIP_HIGH = 0.28
OFFLOAD_BELOW = 8
"""GPUs below which weights and optimizer are moved to host memory while rollouts are drawn."""
CPU_LOGICAL_CPUS = 32
"""CPUs that Ray believes in on a machine without GPUs: with 8 verl's actors wait for each other silently."""
CPU_OBJECT_STORE_BYTES = 256 * 2**20

_VARIABLES = "ray_kwargs.ray_init.runtime_env.env_vars"

_OWN_RAY: dict[str, object] = {
    "ray_kwargs.ray_init.address": "local",  # never one that happens to run here
    "ray_kwargs.ray_init._node_ip_address": "127.0.0.1",
    "ray_kwargs.ray_init.include_dashboard": False,
}

_AGGREGATION = {
    "token_mean": "token-mean",
    "sequence_mean": "seq-mean-token-mean",
    "sequence_sum": "seq-mean-token-sum-norm",
}


@dataclass(frozen=True)
class VerlTraining:
    """What a training by verl is made of."""

    recipe: Recipe
    """With its prompt named."""
    model: str
    """Directory of the model to start from; where nothing is started, its name."""
    work: Path
    """Work directory; on a cluster every node sees it."""
    steps: int
    """Rollout steps in all."""
    steps_per_pass: int
    """Rollout steps in one pass over the problems."""
    device: str
    """`cuda` or `cpu`."""
    evaluates: bool = False
    """Whether there are held-out problems."""
    joins: bool = False
    """Whether a Ray cluster is joined, which RAY_ADDRESS names, instead of one started for this training."""
    resume_from: Path | None = None
    """Directory of a checkpoint, `global_step_<n>`."""


def check_settings(recipe: Recipe, device: str) -> None:
    """Refuses what this engine cannot do.

    Raises:
        InputError: The first such setting.
    """
    settings = recipe.rl
    if settings.sharding == "zero3":
        raise InputError("rl.sharding is 'zero3'; engine 'verl' shards by FSDP2: set rl.sharding to 'fsdp2' or 'none'")
    if settings.lora_rank:
        raise InputError(
            f"rl.lora_rank is {settings.lora_rank}; with engine 'verl' all weights are trained: set rl.lora_rank to 0, "
            "or take --engine trl"
        )
    if settings.mode == "separate_async" and settings.nodes * settings.processes < 2:
        raise InputError(
            f"rl.mode is 'separate_async' with one {'process' if device == 'cpu' else 'GPU'}; rollouts and updates "
            "need their own: raise rl.processes or rl.nodes, or set rl.mode to 'colocate_async'"
        )


def chooses(settings: RlSettings) -> bool:
    """Whether evaluations choose the weights, or end the training, so that each of them needs a checkpoint."""
    return settings.evaluation_steps > 0 and (settings.keep == "best" or settings.patience > 0)


def loss_settings(settings: RlSettings) -> dict[str, object]:
    """Returns how the objective becomes a loss, by verl's dotted keys."""
    own = {"dr_grpo": "sequence_sum"}.get(settings.objective, "token_mean")
    aggregation = _AGGREGATION[own if settings.aggregation == "objective" else settings.aggregation]
    actor = "actor_rollout_ref.actor"
    high = settings.clip_high or (DAPO_CLIP_HIGH if settings.objective == "dapo" else settings.clip)
    return {
        "algorithm.adv_estimator": "grpo",
        "algorithm.norm_adv_by_std_in_grpo": settings.objective != "dr_grpo",
        "algorithm.filter_groups.enable": settings.objective == "dapo",
        "algorithm.use_kl_in_reward": False,
        "algorithm.rollout_correction.rollout_is": "token",
        "algorithm.rollout_correction.rollout_is_threshold": settings.importance_cap,
        f"{actor}.loss_agg_mode": aggregation,
        f"{actor}.loss_scale_factor": settings.response_tokens if aggregation == _AGGREGATION["sequence_sum"] else None,
        f"{actor}.clip_ratio": settings.clip,
        f"{actor}.clip_ratio_low": settings.clip,
        f"{actor}.clip_ratio_high": high,
        f"{actor}.entropy_coeff": 0,
        f"{actor}.use_kl_loss": settings.kl > 0,
        f"{actor}.kl_loss_coef": settings.kl,
    }


def values(training: VerlTraining) -> dict[str, object]:
    """Returns everything that differs from verl's defaults, by verl's dotted keys."""
    recipe = training.recipe
    check_settings(recipe, training.device)
    return {
        **loss_settings(recipe.rl),
        **_data(training),
        **_model(training),
        **_rollout(training),
        **_trainer(training),
        **(_cpu(training) if training.device == "cpu" else _gpu(training)),
        **(_own_gpus(recipe.rl, training.device) if recipe.rl.mode == "separate_async" else {}),
        RECIPE: recipe.model_dump_json(include={*Recipe.model_fields}),  # a run's own settings have more
    }


def _data(training: VerlTraining) -> dict[str, object]:
    settings = training.recipe.rl
    return {
        "data.train_files": str(training.work / TRAIN),
        "data.val_files": str(training.work / HELD_OUT),
        "data.train_batch_size": settings.prompts_per_step,
        "data.max_prompt_length": settings.prompt_tokens,
        "data.max_response_length": settings.response_tokens,
        "data.return_raw_chat": True,
        "data.shuffle": True,
        "data.seed": training.recipe.seed,
        "data.dataloader_num_workers": 0,
    }


def _model(training: VerlTraining) -> dict[str, object]:
    settings, actor = training.recipe.rl, "actor_rollout_ref.actor"
    return {
        "actor_rollout_ref.model.path": training.model,
        f"{actor}.strategy": "fsdp2",
        f"{actor}.ppo_mini_batch_size": settings.mini_batch,
        f"{actor}.optim.lr": settings.learning_rate,
        f"{actor}.optim.clip_grad": settings.gradient_norm,
        f"{actor}.grad_clip": settings.gradient_norm,
        f"{actor}.data_loader_seed": training.recipe.seed,
        f"{actor}.fsdp_config.seed": training.recipe.seed,
    }


def _rollout(training: VerlTraining) -> dict[str, object]:
    recipe, rollout = training.recipe, "actor_rollout_ref.rollout"
    settings, evaluation = recipe.rl, recipe.evaluation
    return {
        f"{rollout}.n": rows_per_problem(recipe),
        f"{rollout}.temperature": settings.temperature,
        f"{rollout}.top_p": settings.top_p,
        f"{rollout}.calculate_log_probs": True,
        f"{rollout}.seed": recipe.seed,
        f"{rollout}.tensor_model_parallel_size": 1,
        f"{rollout}.agent.default_agent_loop": AGENT_LOOP,
        f"{rollout}.val_kwargs.n": settings.evaluation_samples,
        f"{rollout}.val_kwargs.do_sample": evaluation.temperature > 0,
        f"{rollout}.val_kwargs.temperature": evaluation.temperature,
        f"{rollout}.val_kwargs.top_p": evaluation.top_p,
        f"{rollout}.val_kwargs.top_k": evaluation.top_k or -1,
    }


def _trainer(training: VerlTraining) -> dict[str, object]:
    settings, resume = training.recipe.rl, training.resume_from
    return {
        "trainer.project_name": PROJECT,
        "trainer.experiment_name": training.recipe.name,
        "trainer.logger": ["console", "file"],
        "trainer.nnodes": settings.nodes,
        "trainer.n_gpus_per_node": settings.processes,
        "trainer.device": training.device,
        "trainer.total_training_steps": training.steps,
        "trainer.total_epochs": math.ceil(training.steps / training.steps_per_pass),
        "trainer.save_freq": settings.evaluation_steps if chooses(settings) else settings.checkpoint_steps,
        "trainer.test_freq": settings.evaluation_steps if training.evaluates else -1,
        "trainer.val_before_train": training.evaluates and resume is None,
        "trainer.max_actor_ckpt_to_keep": None if chooses(settings) else 2,
        "trainer.default_local_dir": str(training.work / CHECKPOINTS),
        "trainer.rollout_data_dir": str(training.work / ROLLOUTS),
        "trainer.validation_data_dir": str(training.work / EVALUATIONS) if training.evaluates else None,
        "trainer.resume_mode": "disable" if resume is None else "resume_path",
        "trainer.resume_from_path": None if resume is None else str(resume),
        "trainer.v1.trainer_mode": settings.mode,
        # Ray gives these to every process, wherever it runs.
        f"{_VARIABLES}.{VARIABLE}": training.device,
        f"{_VARIABLES}.VERL_FILE_LOGGER_PATH": str(training.work / METRICS),
        **({} if training.joins else _OWN_RAY),
    }


def _gpu(training: VerlTraining) -> dict[str, object]:
    settings = training.recipe.rl
    tokens = settings.prompt_tokens + settings.response_tokens
    offload = settings.nodes * settings.processes < OFFLOAD_BELOW
    engine = "actor_rollout_ref.actor.fsdp_config"
    return {
        "actor_rollout_ref.model.enable_gradient_checkpointing": True,
        "actor_rollout_ref.actor.use_dynamic_bsz": True,
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": settings.micro_batch * tokens,
        f"{engine}.param_offload": offload,
        f"{engine}.optimizer_offload": offload,
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.max_model_len": tokens,
    }


def _own_gpus(settings: RlSettings, device: str) -> dict[str, object]:
    """Returns how GPUs are shared between rollouts and updates where each has its own: nodes, else GPUs, by half."""
    if settings.nodes > 1:
        sizes = {
            "trainer.nnodes": settings.nodes - settings.nodes // 2,
            "actor_rollout_ref.rollout.nnodes": settings.nodes // 2,
            "actor_rollout_ref.rollout.n_gpus_per_node": settings.processes,
        }
    else:
        sizes = {
            "trainer.n_gpus_per_node": settings.processes - settings.processes // 2,
            "actor_rollout_ref.rollout.nnodes": 1,
            "actor_rollout_ref.rollout.n_gpus_per_node": settings.processes // 2,
        }
    return {
        **sizes,
        "actor_rollout_ref.hybrid_engine": False,
        "actor_rollout_ref.rollout.checkpoint_engine.backend": CPU_WEIGHTS if device == "cpu" else "nccl",
        "trainer.v1.separate_async.parameter_sync_step": settings.prompts_per_step // settings.mini_batch,
    }


def _cpu(training: VerlTraining) -> dict[str, object]:
    settings, actor = training.recipe.rl, "actor_rollout_ref.actor"
    return {
        "actor_rollout_ref.model.use_remove_padding": False,
        "actor_rollout_ref.model.enable_gradient_checkpointing": False,
        "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        f"{actor}.fsdp_config.model_dtype": "fp32",
        f"{actor}.fsdp_config.mixed_precision": {
            "param_dtype": "fp32",
            "reduce_dtype": "fp32",
            "buffer_dtype": "fp32",
        },
        f"{actor}.fsdp_config.use_torch_compile": False,
        f"{actor}.use_torch_compile": False,
        f"{actor}.use_dynamic_bsz": False,
        f"{actor}.ppo_micro_batch_size_per_gpu": settings.micro_batch,
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": settings.micro_batch,
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": settings.micro_batch,
        "actor_rollout_ref.rollout.name": CPU_ROLLOUT,
        "actor_rollout_ref.rollout.agent.num_workers": settings.nodes,
        "reward.num_workers": 1,  # never asked, and each takes a third of a GiB
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
        **({} if training.joins else _cpu_ray(settings)),
    }


def _cpu_ray(settings: RlSettings) -> dict[str, object]:
    return {
        "ray_kwargs.ray_init.num_cpus": CPU_LOGICAL_CPUS,
        "ray_kwargs.ray_init.num_gpus": settings.processes,  # logical: verl places one worker on each
        "ray_kwargs.ray_init.object_store_memory": CPU_OBJECT_STORE_BYTES,
    }


_ADDED = (
    RECIPE,
    "actor_rollout_ref.model.override_config.",
    "actor_rollout_ref.actor.fsdp_config.mixed_precision",
    "ray_kwargs.ray_init.",
)
"""Keys that verl reads but its own file does not have; any other unknown key is an error of ours."""


def compose(training: VerlTraining) -> DictConfig:
    """Returns verl's whole configuration.

    Raises:
        InputError: A setting is nothing that this engine can do, or verl refuses it.
    """
    changed = values(training)
    os.environ[VARIABLE] = training.device
    with _quiet():
        import hydra
        import verl
        from omegaconf import OmegaConf

    folder = Path(verl.__file__).parent / "trainer" / "config"
    with hydra.initialize_config_dir(str(folder), version_base=None):
        config: DictConfig = hydra.compose("ppo_trainer")
    for key, value in changed.items():
        OmegaConf.update(config, key, value, force_add=key.startswith(_ADDED))
    _validate(training, config)
    return config


def _validate(training: VerlTraining, config: DictConfig) -> None:
    """Asks verl: what `main_ppo` checks before it starts Ray, and the records that its processes build."""
    with _quiet():  # of engines and accelerators that are not there
        from verl.trainer.ppo.utils import need_critic, need_reference_policy
        from verl.trainer.ppo.v1 import get_trainer_cls
        from verl.utils.config import omega_conf_to_dataclass, validate_config

    try:
        if is_contrastive(training.recipe):
            from calmstorm.training.verl.carft import check

            check(training.recipe, config)
        with _quiet():
            validate_config(config, need_reference_policy(config), need_critic(config))
            get_trainer_cls(config.trainer.v1.trainer_mode)
            rollout = config.actor_rollout_ref.rollout
            for section in (rollout, rollout.checkpoint_engine, config.algorithm, config.actor_rollout_ref.actor):
                omega_conf_to_dataclass(section)
    except InputError:
        raise
    except Exception as error:  # whatever verl, hydra and omegaconf raise
        raise InputError(f"verl refuses the configuration: {_rule(error)}: {_remedy(str(error))}") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what verl prints and warns of from the terminal."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _rule(error: Exception) -> str:
    """Returns the sentence that says what is wrong; hydra puts it below the name of the class it could not build."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Error in call", "full_key", "object_type"))]
    return (told or lines or [type(error).__name__])[0][:300].rstrip(".")


def _remedy(message: str) -> str:
    if "real_train_batch_size" in message:
        return "let rl.nodes x rl.processes divide rl.prompts_per_step x (rl.samples, and 1 more for carft)"
    if "mini_batch" in message:
        return "correct rl.mini_batch or rl.prompts_per_step"
    return "correct that setting of rl; docs/verl.md says what each becomes"


def write(config: DictConfig, work: Path) -> Path:
    """Writes what `main_ppo` reads into the work directory; returns the path of the configuration."""
    from omegaconf import OmegaConf

    path = work / f"{CONFIG_NAME}.yaml"
    write_atomically(path, OmegaConf.to_yaml(config))
    return path


def changes(training: VerlTraining) -> dict[str, object]:
    """Returns what differs from verl's defaults, for a person: without the recipe, which is known."""
    return {key: value for key, value in sorted(values(training).items()) if key != RECIPE}
