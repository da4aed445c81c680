"""Commands that ask servers: what a run keeps of them, and that it can go on with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calmstorm import samples
from calmstorm.cli import main
from calmstorm.commands import options
from calmstorm.errors import InputError
from calmstorm.reasoner.codec import TokenizerCodec, load_tokenizer
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.runs import RunDirectory
from calmstorm.settings import load_recipe
from calmstorm.stages import run_config
from tests.reasoner.completion_server import CompletionServer, Fault, turns

POCKET = str(pocket_directory())
SCRIPT = turns("So \\boxed{7}.")


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    return int(ended.value.code or 0)


def serve(codec: TokenizerCodec, script: Any = SCRIPT, **options: Any) -> CompletionServer:
    return CompletionServer(script, codec=codec, end_of_turn=codec.tokenizer.eos_token_id, models=(POCKET,), **options)


@pytest.fixture(scope="module")
def codec() -> TokenizerCodec:
    return TokenizerCodec(load_tokenizer(POCKET))


@pytest.fixture
def problems(tmp_path: Path) -> str:
    path = tmp_path / "p.jsonl"
    path.write_text(
        "".join(json.dumps({"id": f"p{n}", "question": f"How many {n}?", "answer": 7}) + "\n" for n in "abcd")
    )
    return str(path)


def test_a_run_keeps_model_and_prompt_of_its_servers_and_goes_on_with_others(
    codec: TokenizerCodec, problems: str, tmp_path: Path
) -> None:
    words = ("curate", "--problems", problems, "--run", str(tmp_path / "run"), "--set", "curation.interventions=0")
    with serve(codec) as first, serve(codec) as second:
        assert calm(*words, "--reasoner", first.url, "--reasoner", second.url, "--limit", "2") == 0
        assert (first.count, second.count) == (1, 1)
        assert calm(*words, "--resume", "--reasoner", second.url, "--set", "server.retries=9") == 0
        assert first.count == 1
    with RunDirectory(tmp_path / "run", readonly=True) as run:
        config = run_config(run)
        trajectories = list(run.trajectories())
    assert (config.reasoner, config.model, config.prompt) == (second.url, POCKET, "pocket-1")
    assert config.server.retries == 9
    assert sorted(trajectory.problem_id for trajectory in trajectories) == ["pa", "pb", "pc", "pd"]
    assert all(span.token_ids for trajectory in trajectories for span in trajectory.spans)


def test_one_refused_request_leaves_its_sample_open_and_ends_nothing_else(
    codec: TokenizerCodec, problems: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "PAUSES", (0.0, 0.0))

    def script(call: Any) -> Any:
        return Fault(400) if "How many b?" in call.prompt else SCRIPT(call)

    with serve(codec, script) as server:
        assert calm("eval", "--problems", problems, "--reasoner", server.url, "--samples", "1", "--json") == 1
    printed = capsys.readouterr()
    assert "1 of 4 samples are not finished" in printed.err
    results = {row["problem_id"]: row["correct"] for row in json.loads(printed.out)["results"]}
    assert results["pa"] is results["pc"] is results["pd"] is True


def test_solve_in_text_sends_no_ids(codec: TokenizerCodec, capsys: pytest.CaptureFixture[str]) -> None:
    with serve(codec) as server:
        calm("solve", "How many?", "--reasoner", server.url, "--text", "--attempts", "1", "--json")
    assert json.loads(capsys.readouterr().out)["answer"] == 7
    assert all(isinstance(request["prompt"], str) for request in server.requests)


def test_a_whole_run_asks_servers_for_a_model_that_its_recipe_does_not_name(codec: TokenizerCodec) -> None:
    with serve(codec) as server:
        config = options.run_settings(load_recipe("pocket", {"reasoner": server.url}))
        server.models = (POCKET, "other")
        with pytest.raises(InputError, match="serves 2 models"):
            options.run_settings(load_recipe("pocket", {"reasoner": server.url}))
        server.models = ("short-name",)
        with pytest.raises(InputError, match=r"its model 'short-name' is neither .* --set base"):
            options.run_settings(load_recipe("pocket", {"reasoner": server.url}))
    assert (config.model, config.prompt) == (POCKET, "pocket-1")
