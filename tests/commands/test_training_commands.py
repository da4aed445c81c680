"""What `sft`, `rl` and `experiment` train: the recipe and the model of their run, and nothing by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from calmstorm import stages
from calmstorm.cli import main
from calmstorm.commands import options
from calmstorm.errors import InputError
from calmstorm.problems.files import write_problems
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.records import (
    Author,
    GoldenTrajectory,
    LabelStatus,
    Problem,
    Span,
    SpanKind,
    Stage,
    StopReason,
    Trajectory,
)
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe, RunConfig, load_recipe
from calmstorm.stages import keep_config

URL = "http://127.0.0.1:1/v1"


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would be trained, call by call."""
    calls: list[dict[str, Any]] = []

    def train(run: RunDirectory, recipe: Recipe, model: str | Path, data: Any, *rest: Any, **more: Any) -> None:
        calls.append({"recipe": recipe, "model": model, "data": data})

    monkeypatch.setattr(stages, "fine_tune", train)
    monkeypatch.setattr(stages, "reinforce", train)
    return calls


def curated_run(path: Path, **settings: Any) -> Path:
    span = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="\\boxed{1}", token_ids=(1,))
    trajectory = Trajectory(
        problem_id="p", sample=0, stage=Stage.CURATION, spans=(span,), stop_reason=StopReason.FINISHED
    )
    with RunDirectory(path) as run:
        keep_config(run, RunConfig(**{"command": "curate", **settings}))
        run.append(
            "golden", GoldenTrajectory(trajectory=trajectory, question="?", interventions=(), edited_token_share=0.0)
        )
    return path


def problem_file(folder: Path) -> Path:
    path = folder / "problems.jsonl"
    write_problems(path, [Problem(id="p", question="How many?", answer=1.0, status=LabelStatus.OPTIMAL)])
    return path


def test_fine_tuning_takes_recipe_and_weights_of_the_run(tmp_path: Path, trained: list[dict[str, Any]]) -> None:
    run = curated_run(tmp_path / "run", reasoner=URL, model="Qwen/Qwen3-4B", prompt="calm-1", seed=7)
    assert calm("sft", str(run), "--set", "sft.epochs=2") == 0
    (call,) = trained
    assert (call["model"], call["recipe"].prompt, call["recipe"].seed) == ("Qwen/Qwen3-4B", "calm-1", 7)
    assert (call["recipe"].sft.epochs, call["recipe"].sft.learning_rate) == (2, 1e-5)


def test_reinforcement_takes_recipe_and_weights_of_the_run(tmp_path: Path, trained: list[dict[str, Any]]) -> None:
    run = curated_run(tmp_path / "run", reasoner=URL, model="served", base="Qwen/Qwen3-4B", seed=7)
    assert calm("rl", str(run), "--problems", str(problem_file(tmp_path)), "--set", "rl.steps=3") == 0
    (call,) = trained
    assert (call["model"], call["recipe"].seed) == ("Qwen/Qwen3-4B", 7)
    assert (call["recipe"].rl.steps, call["recipe"].rl.learning_rate) == (3, 1e-6)
    assert [problem.id for problem in call["data"]] == ["p"]


def test_reinforcement_goes_on_from_the_fine_tuned_model_or_from_the_one_that_is_named(
    tmp_path: Path, trained: list[dict[str, Any]]
) -> None:
    run = curated_run(tmp_path / "run", reasoner="Qwen/Qwen3-4B")
    (run / "models" / "sft").mkdir(parents=True)
    problems = str(problem_file(tmp_path))
    assert calm("rl", str(run), "--problems", problems) == 0
    assert calm("rl", str(run), "--problems", problems, "--from", "Qwen/Qwen3-8B") == 0
    assert [call["model"] for call in trained] == [run / "models" / "sft", "Qwen/Qwen3-8B"]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("sft",), "begin it with calm curate"),
        (("rl",), "name a run, or a recipe for a new one: --recipe"),
    ],
)
def test_a_run_without_a_recipe_is_refused_and_not_given_the_pocket_one(
    tmp_path: Path,
    trained: list[dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    remedy: str,
) -> None:
    run = curated_run(tmp_path / "run")
    (run / "config.toml").rename(run / "trajectories.jsonl")  # something else that a run has
    assert calm(*words, str(run)) == 2
    assert remedy in capsys.readouterr().err
    assert trained == []


def test_an_experiment_without_a_run_or_recipe_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = curated_run(tmp_path / "run")
    (run / "config.toml").rename(run / "trajectories.jsonl")  # something else that a run has
    assert calm("experiment", "ablation", "--run", str(run)) == 2
    assert "name a recipe for a new run: --recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({"reasoner": "pocket"}, pocket_directory()),
        ({"reasoner": "Qwen/Qwen3-4B"}, "Qwen/Qwen3-4B"),
        ({"reasoner": URL, "model": "Qwen/Qwen3-4B"}, "Qwen/Qwen3-4B"),
        ({"reasoner": URL, "model": "served", "base": "Qwen/Qwen3-4B"}, "Qwen/Qwen3-4B"),
        ({"reasoner": URL, "model": "served", "base": "pocket"}, pocket_directory()),
    ],
)
def test_the_weights_to_train_are_the_base_or_the_reasoner_or_the_served_model(
    settings: dict[str, str], base: str | Path
) -> None:
    assert options.base_directory(load_recipe(None, settings)) == base


@pytest.mark.parametrize("settings", [{"reasoner": URL}, {"reasoner": URL, "model": "served"}, {"reasoner": "./none"}])
def test_weights_that_are_not_named_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(InputError):
        options.base_directory(load_recipe(None, settings))
