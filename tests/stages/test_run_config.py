"""The settings of a run: kept, held against those of a resumed one, and read by later commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from calmstorm.cli import main
from calmstorm.commands import options
from calmstorm.errors import InputError, SettingsError
from calmstorm.reasoner import opening
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.reasoner.scripted import ScriptedReasoner
from calmstorm.records import (
    Author,
    GoldenTrajectory,
    Review,
    ReviewOutcome,
    Span,
    SpanKind,
    Stage,
    StopReason,
    Trajectory,
)
from calmstorm.runs import RunDirectory
from calmstorm.settings import RunConfig, changed
from calmstorm.stages import keep_config, recipe_of, run_config


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_a_run_gives_back_the_settings_it_was_begun_with(tmp_path: Path) -> None:
    config = RunConfig(reasoner="pocket", seed=7, prompt="calm-1", command="curate")
    with RunDirectory(tmp_path) as run:
        keep_config(run, config)
        assert run_config(run) == config
    assert recipe_of(tmp_path) == config
    assert recipe_of(tmp_path / "none") is None


def test_the_pace_of_a_run_may_change_and_nothing_else(tmp_path: Path) -> None:
    config = RunConfig()
    faster = config.model_copy(update={"rollout": config.rollout.model_copy(update={"workers": 9, "concurrency": 7})})
    with RunDirectory(tmp_path) as run:
        keep_config(run, config)
        keep_config(run, faster)
        assert run_config(run).rollout.workers == 9
        with pytest.raises(SettingsError, match="prompt is 'calm-2'"):
            keep_config(run, faster.model_copy(update={"prompt": "calm-2"}))


def test_servers_limits_and_budgets_may_change_but_not_the_model_behind_them(tmp_path: Path) -> None:
    config = RunConfig(reasoner="http://a:1", model="m")
    moved = changed(
        config,
        {
            "reasoner": "http://b:2",
            "server.timeout_seconds": "60",
            "server.command": '["vllm", "{model}", "{port}"]',
            "intervener.concurrency": "2",
            "intervener.patience_seconds": "1",
            "budget.cost": "5",
            "prices": '[{model = "m", input = 1.0}]',
            "local.cache_gib": "4",
        },
        "test",
    )
    with RunDirectory(tmp_path) as run:
        keep_config(run, config)
        keep_config(run, moved)
        assert run_config(run) == moved
        run.append("reviews", Review(problem_id="p", sample=0, round=0, outcome=ReviewOutcome.FLAWLESS))
        for key, value in (
            ("model", "other"),
            ("tokenizer", "t"),
            ("reasoner", "pocket"),
            ("server.text_only", "true"),
            ("local.dtype", "float32"),
            ("intervener.model", "other"),
            ("rollout.response_tokens", "100"),
        ):
            with pytest.raises(SettingsError, match=f"{key} is .* leave it as it was, or name another run directory"):
                keep_config(run, changed(moved, {key: value}, "test"))


def test_the_intervener_may_change_as_long_as_it_has_reviewed_nothing(tmp_path: Path) -> None:
    other = changed(RunConfig(), {"intervener.top_p": "default", "intervener.model": "other"}, "test")
    with RunDirectory(tmp_path) as run:
        keep_config(run, RunConfig())
        keep_config(run, other)
        assert run_config(run) == other
        run.append("reviews", Review(problem_id="p", sample=0, round=0, outcome=ReviewOutcome.FAILED))
        with pytest.raises(SettingsError, match=r"intervener\.model is 'gemini-2\.5-pro'"):
            keep_config(run, RunConfig())


def test_a_run_without_settings_is_refused(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run, pytest.raises(InputError, match=r"has no config\.toml"):
        run_config(run)


def test_settings_of_another_version_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[curation]\nintervener = 'rules'\n")
    with pytest.raises(SettingsError, match=r"'curation\.intervener' is not a setting"):
        recipe_of(tmp_path)


def golden_run(path: Path, **changes: object) -> Path:
    span = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="\\boxed{1}", token_ids=(1,))
    trajectory = Trajectory(
        problem_id="p", sample=0, stage=Stage.CURATION, spans=(span,), stop_reason=StopReason.FINISHED
    )
    with RunDirectory(path) as run:
        keep_config(run, RunConfig(**{"command": "curate", **changes}))
        run.append(
            "golden", GoldenTrajectory(trajectory=trajectory, question="?", interventions=(), edited_token_share=0.0)
        )
    return path


@pytest.mark.parametrize("command", ["sft", "rl"])
def test_a_model_behind_a_server_cannot_be_trained_without_its_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    run = golden_run(tmp_path / "run", reasoner="http://127.0.0.1:1/v1", model="m")
    assert calm(command, str(run)) == 2
    assert (
        "its model 'm' is neither a directory nor a hub id: name the weights with --set base="
        in capsys.readouterr().err
    )


def test_fine_tuning_takes_the_base_of_the_run_and_not_the_pocket_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trl")
    run = golden_run(tmp_path / "run", reasoner=str(tmp_path / "my-model"))
    assert calm("sft", str(run)) == 2
    assert "my-model" in capsys.readouterr().err


def test_reinforcement_of_a_new_run_needs_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("rl", str(tmp_path / "run")) == 2
    assert "name a run, or a recipe for a new one: --recipe" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_with_settings_refuses_another_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = golden_run(tmp_path / "run")
    assert calm("rl", str(run), "--recipe", "pocket") == 2
    assert "has its own settings" in capsys.readouterr().err


def test_a_flag_that_looks_like_a_number_stays_a_text() -> None:
    flags = options.changes(["rl.steps=5"], {"model": "4", "problems.source": "true", "seed": 3, "rl.engine": None})
    recipe = options.recipe_for(["7"], None, flags)
    assert (recipe.model, recipe.problems.source, recipe.reasoner) == ("4", "true", "7")
    assert (recipe.seed, recipe.rl.steps, recipe.rl.engine) == (3, 5, "trl")


def test_an_experiment_does_not_make_a_run_from_a_slip_of_the_pen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calm("experiment", "pilot", "--run", str(tmp_path / "nope")) == 2
    assert "there is no run here" in capsys.readouterr().err
    assert not (tmp_path / "nope").exists()


def test_a_resumed_curation_keeps_the_runs_recipe_and_what_training_changed_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reasoner = OpenedReasoner(ScriptedReasoner(lambda prefix, sampling: "\\boxed{1}"), None)
    monkeypatch.setattr(opening, "open_for", lambda recipe: reasoner)
    problems = tmp_path / "p.jsonl"
    problems.write_text('{"id": "p", "question": "How many?", "answer": 1}\n')
    run = tmp_path / "run"
    words = ("curate", "--problems", str(problems), "--run", str(run))
    assert calm(*words, "--set", "curation.interventions=0", "--set", "seed=5") == 0
    with RunDirectory(run) as directory:
        config = run_config(directory)
        trained = config.model_copy(update={"sft": config.sft.model_copy(update={"epochs": 1.0})})
        keep_config(directory, trained, frozenset({"sft"}))
    assert calm(*words, "--resume") == 0
    kept = recipe_of(run)
    assert kept is not None
    assert (kept.curation.interventions, kept.seed, kept.sft.epochs) == (0, 5, 1.0)
    assert calm(*words, "--resume", "--set", "curation.interventions=2") == 2
    assert "curation.interventions is 2, but this run was started with 0" in capsys.readouterr().err
