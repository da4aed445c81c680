"""`calm doctor` asks the servers that are named, once each, and says what to do about those that do not work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calmstorm.cli import main
from calmstorm.commands import doctor
from tests.intervener.chat_server import ChatServer
from tests.reasoner.completion_server import CompletionServer, Fault

NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def _only_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out what is checked of this machine, and this machine's own keys."""
    for group in ("_python", "_packages", "_isolation", "_solvers", "_pocket", "_machine"):
        monkeypatch.setattr(doctor, group, lambda: iter(()))
    for name in ("CALM_API_KEY", "CALM_INTERVENER_KEY", "CALM_INTERVENER_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def examine(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *words, "--json"])
    captured = capsys.readouterr()
    found = json.loads(captured.out or "{}").get("findings", [])
    return int(ended.value.code or 0), {finding["name"]: finding for finding in found}


def test_nothing_is_asked_where_no_server_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = examine(capsys)
    assert (status, list(found)) == (0, ["keys"])


def test_a_server_that_works_lists_its_models_and_returns_token_ids(capsys: pytest.CaptureFixture[str]) -> None:
    with CompletionServer("x", models=("one", "two")) as server:
        status, found = examine(capsys, "--reasoner", server.url, "--model", "two")
        (request,) = server.requests
    assert status == 0
    assert found[f"server {server.url}"]["found"] == "answers, serves one, two"
    assert found[f"server {server.url}, token ids"]["ok"]
    assert (request["model"], request["max_tokens"]) == ("two", 1)


def test_a_server_says_whether_it_takes_weights_and_has_to_where_rollouts_of_training_come_from_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with CompletionServer("x") as server:
        name = f"server {server.url}, weight sync"
        status, found = examine(capsys, "--reasoner", server.url)
        assert (status, found[name]["ok"], found[name]["required"]) == (0, False, False)
        assert "VLLM_SERVER_DEV_MODE=1" in found[name]["remedy"]
        training = ("--recipe", "pocket", "--set", "rl.generator=server", "--set", f"rl.servers={server.url}")
        status, found = examine(capsys, *training)
        assert (status, found[name]["required"]) == (1, True)
        server.pages["/is_paused"] = lambda _: {"is_paused": False}
        status, found = examine(capsys, *training)
        assert (status, found[name]["ok"]) == (0, True)


def test_token_ids_need_not_come_back_where_text_goes_in_and_out(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"id": "1", "object": "text_completion", "model": "m", "choices": [{"index": 0, "text": "1"}]}
    with CompletionServer(lambda _: answer) as server:
        assert examine(capsys, "--reasoner", server.url)[0] == 1
        assert examine(capsys, "--reasoner", server.url, "--set", "server.text_only=true")[0] == 0


def test_a_server_that_is_not_there_fails_with_what_starts_one_and_others_are_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with CompletionServer("x") as server:
        status, found = examine(capsys, "--reasoner", f"{NOWHERE},{server.url}")
    assert status == 1
    assert "vllm serve" in found[f"server {NOWHERE}"]["remedy"]
    assert found[f"server {server.url}"]["ok"]


def test_a_model_that_a_server_does_not_have_is_named_with_those_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    with CompletionServer("x", models=("one",)) as server:
        status, found = examine(capsys, "--reasoner", server.url, "--model", "other")
    assert status == 1
    assert "name one with --model" in found[f"server {server.url}"]["remedy"]
    assert "one" in found[f"server {server.url}"]["found"]


def test_a_server_without_token_ids_fails_with_both_ways_out(capsys: pytest.CaptureFixture[str]) -> None:
    plain = {"id": "c", "object": "text_completion", "created": 0, "model": "m"}
    choices = [{"index": 0, "text": "x", "finish_reason": "length", "logprobs": None}]
    with CompletionServer(lambda call: {**plain, "choices": choices}) as server:
        status, found = examine(capsys, "--reasoner", server.url)
    assert status == 1
    finding = found[f"server {server.url}, token ids"]
    assert "server.text_only=true" in finding["remedy"]
    assert "vLLM" in finding["remedy"]


def test_a_refused_key_is_said_to_be_so_and_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALM_API_KEY", "sk-secret")
    with CompletionServer(lambda call: Fault(401, b'{"error": {"message": "no sk-secret"}}')) as server:
        status, found = examine(capsys, "--reasoner", server.url)
    assert status == 1
    finding = found[f"server {server.url}, completions"]
    assert finding["remedy"] == "CALM_API_KEY is refused: set another"
    assert "sk-secret" not in json.dumps(found)
    assert found["keys"]["found"] == "set: CALM_API_KEY"


def test_an_intervener_whose_url_is_set_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChatServer(["1"]) as server:
        monkeypatch.setenv("CALM_INTERVENER_URL", server.url)
        status, found = examine(capsys, "--set", "intervener.kind=llm", "--set", "intervener.model=judge")
        (request,) = server.requests
    assert status == 0
    assert found["Intervener"]["ok"]
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("judge", 1, 1.0)


def test_an_intervener_that_a_recipe_needs_and_that_is_not_named_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('reasoner = "pocket"\n[intervener]\nkind = "llm"\n')
    status, found = examine(capsys, "--recipe", str(recipe))
    assert status == 1
    assert "export CALM_INTERVENER_URL" in found["Intervener"]["remedy"]


@pytest.mark.parametrize("reply", [404, 401, 400])
def test_an_intervener_that_refuses_fails_with_a_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, reply: int
) -> None:
    with ChatServer([reply]) as server:
        monkeypatch.setenv("CALM_INTERVENER_URL", server.url)
        status, found = examine(capsys, "--set", "intervener.kind=llm")
    assert status == 1
    assert found["Intervener"]["remedy"]


def test_a_program_that_is_to_start_servers_and_is_not_installed_fails(capsys: pytest.CaptureFixture[str]) -> None:
    command = 'server.command=["no-such-program", "{model}", "{port}"]'
    status, found = examine(capsys, "--set", command)
    assert status == 1
    assert "no-such-program is not installed" in found["server.command"]["found"]


def test_a_run_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert examine(capsys, "--run", str(tmp_path / "none"))[0] == 2
