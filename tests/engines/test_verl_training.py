"""verl's `main_ppo` on this machine with the pocket model: it learns, in every mode, with CARFT, and on two nodes."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from calmstorm.interpreter import Interpreter
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.records import GoldenTrajectory, Problem, Trajectory
from calmstorm.settings import CarftSettings, Recipe, load_recipe
from calmstorm.training.rollouts import RolloutTask, roll_out
from calmstorm.training.verl.recipe import INTERPRETER_NAME as NAME
from tests.engines.verl_training import (
    METRICS,
    ROOT,
    Trained,
    easy_problems,
    train,
    training_environment,
    verl_python,
)

pytestmark = [pytest.mark.engines, pytest.mark.timeout(3000)]

PROBLEMS = 8
"""The same ones in every step, so that what changes from step to step is the model."""


@pytest.fixture(scope="module")
def python() -> Path:
    found = verl_python()
    if found is None:
        pytest.skip("verl is not installed: run make verl, or name its Python in CALM_VERL_PYTHON")
    return found


def pocket(steps: int, **rl: Any) -> Recipe:
    base = load_recipe(ROOT / "recipes" / "pocket.toml")
    sizes = {"prompts_per_step": PROBLEMS, "mini_batch": PROBLEMS, "micro_batch": 8, "response_tokens": 384}
    settings = base.rl.model_copy(update={"engine": "verl", "steps": steps, "learning_rate": 1e-3, **sizes, **rl})
    rollout = base.rollout.model_copy(update={"tier": "unsafe", "workers": 1})
    return base.model_copy(update={"rl": settings, "rollout": rollout})


def solved(problems: list[Problem], recipe: Recipe) -> dict[str, str]:
    """A correct trajectory of the pocket model for each problem that it solves in eight attempts, as JSON."""

    async def attempts() -> list[Any]:
        reasoner = LocalReasoner(pocket_directory())
        with Interpreter(workers=1, tier="unsafe") as interpreter:
            tasks = [
                RolloutTask(step=0, problem=problem, sample=sample, prompt=reasoner.render(problem.question))
                for problem in problems
                for sample in range(8)
            ]
            made = await roll_out(tasks, reasoner, interpreter, recipe.rl, recipe.rollout, recipe.seed)
        await reasoner.close()
        return made

    questions = {problem.id: problem.question for problem in problems}
    golden = {}
    for made in asyncio.run(attempts()):
        if made.reward == 1:
            trajectory = Trajectory(
                problem_id=made.problem_id,
                sample=0,
                stage="curation",
                spans=made.rollout.spans,
                stop_reason=made.rollout.stop_reason,
            )
            golden[made.problem_id] = GoldenTrajectory(
                trajectory=trajectory, question=questions[made.problem_id], interventions=(), edited_token_share=0.0
            ).model_dump_json(by_alias=True)
    return golden


def assert_agreeing(trained: Trained) -> None:
    """The engine that draws and the one that trains have the same weights after every update."""
    for step in trained.steps:
        assert step["calm/logprob_gap"] < 1e-5
        assert step["training/rollout_probs_diff_max"] < 1e-3
        assert step["calm/ungraded"] == 0


def assert_rising(trained: Trained) -> None:
    rewards = [step["calm/reward"] for step in trained.steps]
    assert len(rewards) >= 5
    assert fmean(rewards[-2:]) > fmean(rewards[:2]) + 0.05, rewards


def test_grpo_earns_more_from_step_to_step_and_both_engines_agree(python: Path, tmp_path: Path) -> None:
    trained = train(python, tmp_path, pocket(6), easy_problems(PROBLEMS))
    assert_agreeing(trained)
    assert_rising(trained)
    assert any(step["calm/code_blocks"] > 0 for step in trained.steps)


def test_carft_earns_more_from_step_to_step_and_both_engines_agree(python: Path, tmp_path: Path) -> None:
    recipe = pocket(6, objective="carft").model_copy(
        update={"carft": CarftSettings(variant="both", coefficient=0.01, partial_reward="none")}
    )
    problems = easy_problems(PROBLEMS)
    annotated = solved(problems, recipe)
    assert len(annotated) >= PROBLEMS // 2
    trained = train(python, tmp_path, recipe, problems, annotated=annotated)
    assert_agreeing(trained)
    assert_rising(trained)
    assert all(step["carft/loss"] > 0 for step in trained.steps)
    assert all(step["carft/views"] >= PROBLEMS * recipe.rl.samples + len(annotated) for step in trained.steps)


MODES = {
    "colocate_async": (),
    "separate_async": (
        "actor_rollout_ref.hybrid_engine=False",
        "actor_rollout_ref.rollout.nnodes=1",
        "actor_rollout_ref.rollout.n_gpus_per_node=1",
        "actor_rollout_ref.rollout.checkpoint_engine.backend=calmstorm",
        "trainer.v1.separate_async.parameter_sync_step=1",
        "ray_kwargs.ray_init.num_gpus=2",
    ),
}


@pytest.mark.parametrize("mode", MODES)
def test_an_asynchronous_mode_trains_and_its_rollouts_come_from_recent_weights(
    mode: str, python: Path, tmp_path: Path
) -> None:
    recipe = pocket(3, mode=mode, prompts_per_step=4, mini_batch=4, samples=4, micro_batch=4)
    trained = train(python, tmp_path, recipe, easy_problems(16), *MODES[mode])
    assert len(trained.steps) == 3
    for step in trained.steps:
        assert step["training/off_policy/trajectory_staleness/max"] <= 2
        assert step["calm/logprob_gap"] < 0.05
        assert step["actor/grad_norm"] >= 0


def test_carft_is_refused_where_weights_change_between_its_two_passes(python: Path, tmp_path: Path) -> None:
    recipe = pocket(2, objective="carft", mode="colocate_async")
    with pytest.raises(AssertionError, match="CARFT needs the same weights"):
        train(python, tmp_path, recipe, easy_problems(PROBLEMS))


def test_agent_loops_of_two_nodes_have_an_interpreter_each(python: Path, tmp_path: Path) -> None:
    script = Path(__file__).with_name("verl_two_nodes.py")
    environment = training_environment(tmp_path / METRICS)
    with subprocess.Popen(
        [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as cluster:
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        address = next(line for line in cluster.stdout if line.startswith("ADDRESS ")).split()[1]
        trained = train(
            python,
            tmp_path,
            pocket(1, prompts_per_step=4, mini_batch=4, samples=4, micro_batch=4),
            easy_problems(4),
            f"+ray_kwargs.ray_init.address='{address}'",
            "~ray_kwargs.ray_init.num_cpus",
            "~ray_kwargs.ray_init.num_gpus",
            "~ray_kwargs.ray_init.object_store_memory",
            "~ray_kwargs.ray_init.include_dashboard",
            "actor_rollout_ref.rollout.agent.num_workers=2",
            environment=environment,
        )
        cluster.stdin.close()
        found = json.loads(next(line for line in cluster.stdout if line.startswith("RESULT ")).removeprefix("RESULT "))
    assert len(found) == 2
    assert {name.removeprefix(NAME) for name in found} == {node for node, _ in found.values()}
    assert len({pid for _, pid in found.values()}) == 2
    assert trained.steps[0]["calm/code_blocks"] > 0


def worker_check(python: Path, name: str) -> dict[str, Any]:
    ran = subprocess.run(
        [python, Path(__file__).with_name("verl_worker.py"), name], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    (line,) = (line for line in ran.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return found


def test_tokens_that_nobody_learns_have_no_gradient_in_verls_worker(python: Path) -> None:
    found = worker_check(python, "masked")
    for objective in ("grpo", "carft"):
        assert found[f"{objective}_masked"]["not_learned"] == 0.0
        assert found[f"{objective}_masked"]["learned"] > 0.0
        assert found[f"{objective}_unmasked"]["not_learned"] > 0.0  # what is checked is the mask


def test_the_contrastive_part_is_the_gradient_of_the_whole_loss_and_nothing_without_derivatives(python: Path) -> None:
    found = worker_check(python, "contrast")
    assert found["without_derivatives"] == 0.0
    assert found["with_derivatives"] > 1e-4
    assert found["by_micro_batches"] < 1e-6
    assert found["by_the_whole_loss"] < 1e-6


def test_embeddings_belong_to_their_rows_whatever_the_micro_batches(python: Path) -> None:
    found = worker_check(python, "embeddings")
    assert found["rows"] == 6
    assert found["apart"] < 1e-6 < found["rows_apart"]


def test_the_head_comes_back_from_a_checkpoint(python: Path) -> None:
    found = worker_check(python, "checkpoint")
    assert found["same"]
    assert found["went_on_the_same"]
    assert not found["began_the_same"]


def test_an_interpreter_that_dies_is_started_again(python: Path) -> None:
    assert worker_check(python, "interpreter")["said"] == ["1\n", "2\n", "lost", "4\n"]


def test_a_row_that_is_no_rollout_has_nothing_to_learn(python: Path) -> None:
    found = worker_check(python, "rows")
    assert found["tries"] == 2
    for name in ("failed", "long", "long_annotated"):
        row = found[name]
        assert (len(row["response_ids"]), row["response_mask"], row["reward_score"]) == (1, [0], 0.0)
    assert found["failed"]["extra_fields"]["kind"] == found["long"]["extra_fields"]["kind"] == "failed"
    annotated = found["annotated"]
    assert annotated["extra_fields"]["kind"] == "annotated"
    assert annotated["response_ids"] == found["response"]
    assert annotated["response_mask"] == [0] * len(found["response"])
    assert 0 < sum(annotated["extra_fields"]["written"]) < len(found["response"])


def test_a_failed_row_leaves_the_advantages_of_its_group_as_they_are(python: Path) -> None:
    found = worker_check(python, "advantages")
    assert found["apart"] == [*found["alone"], 0.0]
    assert found["within"][:3] != found["alone"]  # so a row that is not set apart would change them
