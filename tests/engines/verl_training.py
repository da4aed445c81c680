"""verl's own `main_ppo` on this machine, in a process of its own, in an environment that has verl and no TRL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from calmstorm.problems.generator import EASY_SIZES, Side, generate
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.reasoner.prompting import user_message
from calmstorm.records import Problem
from calmstorm.settings import Recipe
from calmstorm.training.verl.recipe import rows_per_problem

ROOT = Path(__file__).parents[2]
SECONDS = 2400
METRICS = "metrics.jsonl"


def verl_python() -> Path | None:
    """The Python of an environment with verl and this package, or None where there is none."""
    named = os.environ.get("CALM_VERL_PYTHON")
    python = Path(named) if named else ROOT / ".venv-verl" / "bin" / "python"
    return python if python.exists() else None


@dataclass(frozen=True)
class Trained:
    """What a training left behind."""

    directory: Path
    steps: list[dict[str, Any]]
    """Metrics by step."""
    log: str


def easy_problems(count: int, seed: int = 3) -> list[Problem]:
    """Problems of which the pocket model solves about half."""
    return list(generate(count, seed=seed, suite="verl", sizes=EASY_SIZES, side=Side.ADAPT))


def write_rows(path: Path, problems: Sequence[Problem], annotated: Mapping[str, str] | None = None) -> None:
    """Writes problems as verl reads them."""
    rows = [
        {
            "data_source": "calmstorm",
            "prompt": [{"role": "user", "content": user_message("pocket-1", problem.question)}],
            "ability": "or",
            "reward_model": {"style": "rule", "ground_truth": str(problem.answer)},
            "extra_info": {
                "index": index,
                "problem": problem.model_dump_json(by_alias=True),
                "annotated": (annotated or {}).get(problem.id, ""),
                "held_out": False,
            },
        }
        for index, problem in enumerate(problems)
    ]
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def train(
    python: Path,
    directory: Path,
    recipe: Recipe,
    problems: Sequence[Problem],
    *overrides: str,
    annotated: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    model: Path | None = None,
) -> Trained:
    """Runs a training and returns its metrics; fails with the end of the log where verl fails."""
    directory.mkdir(parents=True, exist_ok=True)
    write_rows(directory / "train.parquet", problems, annotated)
    write_rows(directory / "val.parquet", problems[:2])
    metrics, log = directory / METRICS, directory / "log.txt"
    own = training_environment(metrics) if environment is None else environment
    command = [
        str(python),
        "-m",
        "verl.trainer.main_ppo",
        *_overrides(directory, recipe, model or pocket_directory()),
        *overrides,
    ]
    try:
        with log.open("w") as file:
            ended = subprocess.run(
                command, cwd=directory, env=own, stdout=file, stderr=subprocess.STDOUT, timeout=SECONDS, check=False
            )
    finally:
        if environment is None:
            shutil.rmtree(own["RAY_TMPDIR"], ignore_errors=True)
    said = log.read_text()
    assert ended.returncode == 0, said[-6000:]
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    return Trained(directory, [line["data"] for line in lines], said)


def training_environment(metrics: Path) -> dict[str, str]:
    """The environment of all processes of a training; on a cluster it is that of the nodes.

    Ray has a folder of its own, of a short name for its sockets: in a shared one a training would join any cluster.
    """
    return {
        **os.environ,
        "CALM_VERL": "cpu",
        "VERL_FILE_LOGGER_PATH": str(metrics),
        "HF_HUB_OFFLINE": "1",
        "HYDRA_FULL_ERROR": "1",
        "OMP_NUM_THREADS": "1",
        "RAY_DEDUP_LOGS": "0",
        "RAY_memory_monitor_refresh_ms": "0",  # or Ray ends workers for the memory that others use
        "RAY_TMPDIR": tempfile.mkdtemp(prefix="ray", dir="/tmp"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_prestart_worker_first_driver": "0",  # or one process for each of the CPUs that Ray is told of
        "TOKENIZERS_PARALLELISM": "false",
    }


def _overrides(directory: Path, recipe: Recipe, model: Path) -> list[str]:
    rl = recipe.rl
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    text = recipe.model_dump_json().replace("'", "\\'")
    return [
        f"+actor_rollout_ref.calmstorm='{text}'",
        "algorithm.adv_estimator=grpo",
        "algorithm.use_kl_in_reward=False",
        f"data.train_files={directory}/train.parquet",
        f"data.val_files={directory}/val.parquet",
        f"data.train_batch_size={rl.prompts_per_step}",
        "data.max_prompt_length=256",
        f"data.max_response_length={rl.response_tokens}",
        "data.return_raw_chat=True",
        "data.dataloader_num_workers=0",
        "data.shuffle=False",
        f"actor_rollout_ref.model.path={model}",
        "actor_rollout_ref.model.use_remove_padding=False",
        "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
        f"{actor}.strategy=fsdp2",
        f"{actor}.optim.lr={rl.learning_rate}",
        f"{actor}.use_kl_loss=False",
        f"{actor}.entropy_coeff=0",
        f"{actor}.loss_agg_mode=token-mean",
        f"{actor}.fsdp_config.model_dtype=fp32",
        f"{actor}.fsdp_config.use_torch_compile=False",
        f"+{actor}.fsdp_config.mixed_precision={{param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}}",
        f"{actor}.use_dynamic_bsz=False",
        f"{actor}.ppo_mini_batch_size={rl.mini_batch}",
        f"{actor}.ppo_micro_batch_size_per_gpu={rl.micro_batch}",
        f"{rollout}.log_prob_micro_batch_size_per_gpu={rl.micro_batch}",
        f"{rollout}.name=calmstorm",
        f"{rollout}.n={rows_per_problem(recipe)}",
        f"{rollout}.tensor_model_parallel_size=1",
        f"{rollout}.temperature={rl.temperature}",
        f"{rollout}.top_p={rl.top_p}",
        f"{rollout}.calculate_log_probs=True",
        f"{rollout}.agent.num_workers=1",
        f"{rollout}.agent.default_agent_loop=calmstorm",
        "reward.num_workers=1",
        "algorithm.rollout_correction.rollout_is=token",
        f"algorithm.rollout_correction.rollout_is_threshold={rl.importance_cap}",
        "trainer.device=cpu",
        "trainer.n_gpus_per_node=1",
        "trainer.nnodes=1",
        "trainer.logger=[console,file]",
        "trainer.val_before_train=False",
        f"trainer.default_local_dir={directory}/checkpoints",
        "trainer.save_freq=-1",
        "trainer.test_freq=-1",
        f"trainer.total_training_steps={rl.steps}",
        "trainer.total_epochs=100",
        "trainer.resume_mode=disable",
        f"trainer.v1.trainer_mode={rl.mode}",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        "ray_kwargs.ray_init.num_cpus=32",
        "+ray_kwargs.ray_init.num_gpus=1",
        "+ray_kwargs.ray_init.include_dashboard=False",
        "+ray_kwargs.ray_init.object_store_memory=500000000",
    ]
