from __future__ import annotations

import asyncio
import json

import pytest

from calmstorm.cli import main
from calmstorm.errors import InfrastructureError, InputError
from calmstorm.intervener.llm import LlmAnnotator, LlmIntervener
from calmstorm.intervener.llm.chat import ChatSettings
from calmstorm.records import Author, Problem, Trigger
from tests.intervener.chat_server import ChatServer
from tests.intervener.workshop_case import WORKSHOP, trajectory_of

DONE = trajectory_of(WORKSHOP, "I model {it}.\n", "Let me try plans by hand: [[response]] %s {0}.\n", "\\boxed{300}")
FINE = "<action>NO_INTERVENTION</action>"


def reply(
    target: str = "Let me try plans by hand:", hint: str = "I should code this.", trigger: str = "Trigger 1"
) -> str:
    return (
        f"<action>REPLACE_AND_CONTINUE</action>\n<trigger_type>{trigger}</trigger_type>\n<analysis>Guessing.</analysis>\n"
        f"<target_text>{target}</target_text>\n<hint_to_insert>{hint}</hint_to_insert>"
    )


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in ("CALM_INTERVENER_URL", "CALM_INTERVENER_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def review(server: ChatServer, done=DONE, problem: Problem = WORKSHOP, **settings):
    async def work():
        chosen = ChatSettings(**{"timeout_seconds": 5, "connect_seconds": 5, "retries": 2, **settings})
        intervener = LlmIntervener("m", base_url=server.url, settings=chosen)
        try:
            return await intervener.review(problem, done)
        finally:
            await intervener.close()

    return asyncio.run(work())


def test_a_correction_becomes_an_intervention_with_the_prompts_version():
    with ChatServer([reply()]) as server:
        intervention = review(server)
    assert intervention is not None
    assert (intervention.trigger, intervention.intervener) == (Trigger.PREMATURE_SOLVING, "llm:m@intervener-1")
    assert intervention.position == DONE.response.index("Let me try")
    assert intervention.target == "Let me try plans by hand:"
    assert intervention.hint == "I should code this.\n\n```python\n"
    assert intervention.analysis == "Guessing."


def test_a_flawless_response_needs_no_intervention():
    with ChatServer([FINE]) as server:
        assert review(server) is None


def test_the_prompt_holds_problem_label_hints_and_response_as_they_are():
    hint = (Author.INTERVENER, "I should code.\n\n```python\n")
    done = trajectory_of(WORKSHOP, "Braces {x} and [[problem]].\n", hint, "print(1)\n```\n")
    with ChatServer([FINE]) as server:
        review(server, done)
        request = server.requests[0]
    prompt = request["messages"][0]["content"]
    assert request["path"] == "/v1/chat/completions"
    assert (request["temperature"], request["top_p"], request["model"]) == (1.0, 0.95, "m")
    assert prompt.count(WORKSHOP.question) == 1
    assert prompt.count(done.response) == 1
    assert "Braces {x} and [[problem]]." in prompt
    assert "- I should code." in prompt
    assert "\n400.0\n" in prompt
    for tag in ("action", "trigger_type", "analysis", "target_text", "hint_to_insert"):
        assert f"<{tag}>" in prompt


def test_an_unknown_label_is_said_to_be_unknown():
    with ChatServer([FINE]) as server:
        review(server, problem=Problem(id="w", question="?"))
        assert "not known" in server.requests[0]["messages"][0]["content"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("I would rather not.", "<action> occurs 0 times"),
        (reply(target="nowhere"), "does not occur"),
        (reply(hint="It is 400."), "ground truth"),
        (reply(trigger="Trigger 1;Trigger 2"), "exactly one trigger"),
        ("", "it is empty"),
        ("odd", "it is empty"),
    ],
)
def test_an_unusable_reply_is_sent_back_with_the_reason(bad, reason):
    with ChatServer([bad, reply()]) as server:
        intervention = review(server)
        messages = server.requests[1]["messages"]
    assert intervention is not None
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert reason in messages[2]["content"]


def test_replies_that_stay_unusable_are_trouble_and_no_verdict():
    with ChatServer(["no"]) as server:
        with pytest.raises(InfrastructureError, match="no usable reply in 3 attempts"):
            review(server)
        assert len(server.requests) == 3


@pytest.mark.parametrize("trouble", [500, 503, 429, "cut"])
def test_trouble_on_the_way_is_tried_again(trouble):
    with ChatServer([trouble, FINE]) as server:
        assert review(server) is None
        assert len(server.requests) == 2


def test_a_server_that_hangs_is_given_up():
    with ChatServer(["slow"]) as server, pytest.raises(InfrastructureError, match="failed 1 times"):
        review(server, timeout_seconds=0.2, retries=0)


def test_a_server_that_is_gone_is_given_up():
    with ChatServer([FINE]) as server:
        pass
    with pytest.raises(InfrastructureError, match="failed 1 times"):
        review(server, retries=0)


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "CALM_INTERVENER_KEY"), (404, "set the model"), (400, "change model")]
)
def test_a_refusal_says_what_to_do(status, remedy):
    with ChatServer([status]) as server, pytest.raises(InputError, match=remedy):
        review(server)


def test_a_url_is_needed(monkeypatch):
    with pytest.raises(InputError, match="CALM_INTERVENER_URL is not set"):
        LlmIntervener("m")


def test_the_url_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("CALM_INTERVENER_URL", "https://models.example/v1")
    assert LlmIntervener("gemini-2.5-pro").name == "llm:gemini-2.5-pro@intervener-1"


# ------------------------------------------------------------------ the annotator


def test_an_annotator_names_triggers_and_sees_no_label():
    async def work(url: str):
        annotator = LlmAnnotator("m", base_url=url)
        try:
            return annotator.name, await annotator.annotate(WORKSHOP.question, DONE.response)
        finally:
            await annotator.close()

    with ChatServer(["<trigger_type>Trigger 1;Trigger 7</trigger_type>"]) as server:
        name, triggers = asyncio.run(work(server.url))
        prompt = server.requests[0]["messages"][0]["content"]
    assert name == "llm:m@annotator-1"
    assert triggers == [Trigger.PREMATURE_SOLVING, Trigger.PROTOCOL_VIOLATION]
    assert WORKSHOP.question in prompt
    assert DONE.response in prompt
    assert "400.0" not in prompt


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


@pytest.fixture
def responses(tmp_path) -> str:
    rows = [{"id": f"r{i}", "problem": "How?", "ground_truth": 1, "response": "So \\boxed{1}"} for i in range(3)]
    path = tmp_path / "responses.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_flaws_asks_the_llm_annotator_about_every_response(monkeypatch, capsys, responses):
    with ChatServer(["<trigger_type>Trigger 1</trigger_type>"]) as server:
        monkeypatch.setenv("CALM_INTERVENER_URL", server.url)
        assert calm("flaws", "--responses", responses, "--annotator", "llm", "--model", "m", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["triggers"]) for row in got["results"]] == [("r0", [1]), ("r1", [1]), ("r2", [1])]
    assert got["summary"]["annotator"] == "llm:m@annotator-1"
    assert got["summary"]["rates"]["1"] == 1.0


def test_flaws_keeps_what_was_annotated_when_a_response_was_not(monkeypatch, capsys, responses):
    with ChatServer(
        ["<trigger_type>Correct</trigger_type>", "no", "no", "no", "<trigger_type>Correct</trigger_type>"]
    ) as server:
        monkeypatch.setenv("CALM_INTERVENER_URL", server.url)
        monkeypatch.setattr("calmstorm.commands.flaws.BATCH", 1)
        assert calm("flaws", "--responses", responses, "--annotator", "llm", "--model", "m", "--json") == 1
    shown = capsys.readouterr()
    got = json.loads(shown.out)
    assert [row["triggers"] for row in got["results"]] == [[], None, []]
    assert (got["summary"]["responses"], got["summary"]["failed"]) == (2, 1)
    assert "1 of 3 responses were not annotated" in shown.err


def test_flaws_needs_a_server_for_the_llm_annotator(capsys, responses):
    assert calm("flaws", "--responses", responses, "--annotator", "llm") == 2
    assert "CALM_INTERVENER_URL is not set" in capsys.readouterr().err


def test_flaws_refuses_an_unknown_annotator(capsys, responses):
    assert calm("flaws", "--responses", responses, "--annotator", "oracle") == 2
    assert "it must be rules or llm" in capsys.readouterr().err
