"""Whom a stage asks: servers that run, servers started for it, or a model in this process."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from calmstorm.commands.run import refuse_unfinished
from calmstorm.errors import UnfinishedError, WorkError
from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.pipeline import Adaptation
from calmstorm.reasoner.opening import open_for
from calmstorm.records import Stage
from calmstorm.runs import RunDirectory
from calmstorm.settings import load_recipe
from calmstorm.stages.session import run_closing

NO_INTERPRETER: Any = None  # nothing is run
COMMAND = '["serve", "{model}", "{port}"]'
URLS = "http://127.0.0.1:1/v1,http://127.0.0.1:2/v1"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What was opened, and how."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def open_reasoner(name: str, model: str | None = None, **settings: Any) -> str:
        calls.append(("opened", {"name": name, "model": model, **settings}))
        return name

    def open_served(model: str | Path, settings: Any, **more: Any) -> str:
        calls.append(("served", {"name": str(model), "settings": settings, **more}))
        return str(model)

    managed = ModuleType("calmstorm.reasoner.managed")
    managed.open_served = open_served  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "calmstorm.reasoner.managed", managed)
    monkeypatch.setattr("calmstorm.stages.reasoners.open_reasoner", open_reasoner)
    monkeypatch.setattr("calmstorm.reasoner.opening.open_reasoner", open_reasoner)
    return calls


def adaptation(path: Path, settings: dict[str, str]) -> Adaptation:
    recipe = load_recipe("pocket", {"prompt": "calm-1", **settings})
    return Adaptation(recipe, RunDirectory(path), "Qwen/Qwen3-4B", ScriptedIntervener([]))


def whom(opened: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, str]]:
    return [(kind, call["name"]) for kind, call in opened]


STAGES = (Stage.BASE, Stage.CURATION, Stage.SFT, Stage.RL)


def test_without_servers_every_model_is_opened_in_this_process(
    tmp_path: Path, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    main = adaptation(tmp_path, {"local.device": "cpu"})
    for stage in STAGES:
        main.open(stage)
    trained = [("opened", str(tmp_path / "models" / stage)) for stage in ("sft", "rl")]
    assert whom(opened) == [("opened", "Qwen/Qwen3-4B")] * 2 + trained
    assert {(call["prompt"], call["local"].device) for _, call in opened} == {("calm-1", "cpu")}


def test_servers_that_run_are_asked_for_the_base_and_trained_models_opened_here(
    tmp_path: Path, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    main = adaptation(tmp_path, {"reasoner": URLS, "model": "m", "tokenizer": "t", "server.retries": "7"})
    for stage in (Stage.BASE, Stage.SFT):
        main.open(stage)
    assert whom(opened) == [("opened", URLS), ("opened", str(tmp_path / "models" / "sft"))]
    base, trained = (call for _, call in opened)
    assert (base["model"], base["tokenizer"], base["server"].retries, base["prompt"]) == ("m", "t", 7, "calm-1")
    assert (trained["model"], trained["prompt"]) == (None, "calm-1")


def test_a_command_serves_the_base_and_the_trained_models_with_a_log_of_each_stage(
    tmp_path: Path, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    main = adaptation(tmp_path, {"server.command": COMMAND})
    for stage in STAGES:
        main.open(stage)
    trained = [("served", str(tmp_path / "models" / stage)) for stage in ("sft", "rl")]
    assert whom(opened) == [("served", "Qwen/Qwen3-4B")] * 2 + trained
    assert [call["log"].name for _, call in opened] == ["base.log", "curation.log", "sft.log", "rl.log"]
    assert {call["prompt"] for _, call in opened} == {"calm-1"}
    assert all(call["log"].parent.is_dir() for _, call in opened)


def test_servers_that_run_come_before_a_command_which_serves_what_was_trained(
    tmp_path: Path, opened: list[tuple[str, dict[str, Any]]]
) -> None:
    main = adaptation(tmp_path, {"reasoner": URLS, "model": "m", "server.command": COMMAND})
    main.open(Stage.CURATION)
    main.open(Stage.RL)
    assert whom(opened) == [("opened", URLS), ("served", str(tmp_path / "models" / "rl"))]


def leaving_open(left: int, total: int) -> Any:
    def stage(*_: object, **__: object) -> None:
        raise UnfinishedError(left, total, "the server is gone")

    return stage


def test_a_stage_that_left_some_samples_open_is_noted_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = adaptation(tmp_path, {})
    monkeypatch.setattr("calmstorm.pipeline.evaluate_model", leaving_open(1, 5))
    main.evaluate(Stage.BASE, [], NO_INTERPRETER)
    assert "NOT COMPLETE: evaluate base: 1 of 5 samples" in capsys.readouterr().err
    with pytest.raises(WorkError, match=r"not complete: evaluate base: 1 of 5 samples.*run the same command again"):
        refuse_unfinished(main.unfinished)
    refuse_unfinished([])


def test_a_stage_that_finished_nothing_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main = adaptation(tmp_path, {})
    monkeypatch.setattr("calmstorm.pipeline.evaluate_model", leaving_open(5, 5))
    with pytest.raises(UnfinishedError):
        main.evaluate(Stage.BASE, [], NO_INTERPRETER)
    assert main.unfinished == []


def test_a_reasoner_is_opened_outside_of_an_event_loop_which_would_swallow_an_interrupt(tmp_path: Path) -> None:
    def load() -> Any:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        raise KeyboardInterrupt

    with RunDirectory(tmp_path / "run") as run, pytest.raises(KeyboardInterrupt):
        run_closing(load, NO_INTERPRETER, run, "base")


def test_a_command_for_servers_that_is_not_used_is_not_passed_over_in_silence(
    opened: list[tuple[str, dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    for reasoner in ("pocket", URLS):
        open_for(load_recipe("pocket", {"reasoner": reasoner, "server.command": COMMAND}))
        said = "server.command is left to calm run" in capsys.readouterr().err
        assert said is (reasoner == "pocket")
