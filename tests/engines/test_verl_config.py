"""verl's own validation of the configurations that recipes become, in the environment with verl; no GPU is needed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.engines.verl_training import ROOT, verl_python

pytestmark = pytest.mark.engines

COMPOSE = """
import json, sys
from pathlib import Path
from calmstorm.errors import InputError
from calmstorm.settings import load_recipe
from calmstorm.training.verl.config import compose
from calmstorm.training.verl.run import outline

answers = []
for recipe, changes in json.loads(sys.argv[1]):
    try:
        config = compose(outline("model", 719, Path("runs/a/models/rl"), load_recipe(recipe, changes)))
        answers.append({
            "gpus": config.trainer.nnodes * config.trainer.n_gpus_per_node,
            "rollout": config.actor_rollout_ref.rollout.name,
            "mode": config.trainer.v1.trainer_mode,
            "steps": config.trainer.total_training_steps,
            "aggregation": config.actor_rollout_ref.actor.loss_agg_mode,
        })
    except InputError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""

GIVEN: list[tuple[str, dict[str, str]]] = [
    ("paper-verl", {}),
    ("paper-verl", {"rl.mode": "colocate_async", "rl.objective": "dapo"}),
    ("paper-verl", {"rl.mode": "separate_async", "rl.mini_batch": "16"}),
    ("paper-verl", {"rl.objective": "dr_grpo", "rl.kl": "0.05"}),
    ("pocket", {"rl.engine": "verl", "rl.objective": "carft", "local.device": "cpu"}),
    ("pocket", {"rl.engine": "verl", "rl.processes": "5", "local.device": "cpu"}),
]


@pytest.fixture(scope="module")
def answers() -> list[Any]:
    python = verl_python()
    if python is None:
        pytest.skip("verl is not installed: run make verl, or name its Python in CALM_VERL_PYTHON")
    done = subprocess.run(
        [python, "-c", COMPOSE, json.dumps(GIVEN)], capture_output=True, text=True, timeout=280, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    composed: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return composed


def test_four_nodes_of_eight_gpus_pass_verl_s_validation(answers: list[Any]) -> None:
    expected = {"gpus": 32, "rollout": "vllm", "mode": "sync", "steps": 1100, "aggregation": "token-mean"}
    assert answers[0] == expected


def test_asynchronous_modes_and_other_objectives_pass_it(answers: list[Any]) -> None:
    assert [answer["mode"] for answer in answers[1:3]] == ["colocate_async", "separate_async"]
    assert answers[2]["gpus"] == 16  # the other half draws rollouts
    assert answers[3]["aggregation"] == "seq-mean-token-sum-norm"
    assert answers[4]["rollout"] == "calmstorm"


def test_what_verl_refuses_is_one_line_with_a_remedy(answers: list[Any]) -> None:
    refused = answers[5]
    assert refused.startswith("verl refuses the configuration: real_train_batch_size (96) must be divisible by")
    assert "let rl.nodes x rl.processes divide" in refused
    assert "\n" not in refused


def test_the_command_prints_what_it_would_start_on_a_cluster(answers: list[Any], tmp_path: Path) -> None:
    problems = tmp_path / "problems.jsonl"
    rows = [{"id": f"p{n}", "question": f"How many are {n} and 1?", "answer": n + 1} for n in range(64)]
    problems.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["rl", "run", "--recipe", "pocket", "--problems", "problems.jsonl", "--engine", "verl"]
    sizes = ["--set", "rl.nodes=4", "--set", "rl.processes=8"]
    done = subprocess.run(
        [str(verl_python()), "-m", "calmstorm", *words, *sizes, "--json"],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [command.split()[2:4] for command in printed["commands"]] == [
        ["head", "#"],
        ["node", "FIRST"],
        ["train", "#"],
    ]
    script = Path(printed["script"])
    assert script == Path("run/launch/rl.sh")
    assert "RAY_ADDRESS=auto calm rl run" in (tmp_path / script).read_text()
