from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.reasoner.managed import open_served
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.settings import ServerSettings
from tests.reasoner import served_model

POCKET = pocket_directory()
COMMAND = (sys.executable, "-S", str(served_model.__file__), "{port}", "{model}")


def settings(*more: str, **given: object) -> ServerSettings:
    return ServerSettings.model_validate({"command": (*COMMAND, *more), "start_seconds": 20, **given})


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_servers_start_on_their_gpus_without_our_keys_and_end_with_the_reasoner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    monkeypatch.setenv("CALM_API_KEY", "sk-test")
    opened = open_served(POCKET, settings(instances=2), log=tmp_path / "s.log", tokenizer=None, prompt=None)
    logs = [(tmp_path / f"s-{number}.log").read_text().split() for number in (1, 2)]
    assert [(log[1], log[5]) for log in logs] == [("4", "False"), ("5", "False")]
    assert (opened.model, opened.prompt, opened.context_tokens) == (str(POCKET), "pocket-1", 99)
    assert opened.reasoner.render("How?").token_ids
    pids = [int(log[3]) for log in logs]
    assert all(map(alive, pids))
    asyncio.run(opened.reasoner.close())
    assert not any(map(alive, pids))


def test_a_server_that_ends_is_reported_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="ended with status 1 before it answered: RuntimeError: no kernel"):
        open_served(POCKET, settings("fail"), log=tmp_path / "s.log", tokenizer=None, prompt=None)


def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    sleeper = ServerSettings(command=("sh", "-c", "sleep 60 # {model} {port}"), start_seconds=0.1)
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match=r"did not answer within 0\.1 seconds: it printed nothing"):
        open_served(POCKET, sleeper, log=tmp_path / "s.log", tokenizer=None, prompt=None)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (ServerSettings(), "server.command is empty"),
        (ServerSettings(command=("no-such-program", "{model}", "{port}")), "no-such-program cannot be started"),
        (ServerSettings(command=("sleep", "{model}", "{port}"), instances=3), "CUDA_VISIBLE_DEVICES names 2 GPUs"),
    ],
)
def test_a_command_that_cannot_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: ServerSettings, message: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(InputError, match=message):
        open_served(POCKET, given, log=tmp_path / "s.log", tokenizer=None, prompt=None)
