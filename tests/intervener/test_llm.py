from __future__ import annotations

import asyncio
import json
import re
import sqlite3

import pytest

from calmstorm.cli import main
from calmstorm.endpoint import EndpointPool
from calmstorm.errors import InfrastructureError, InputError, WorkError
from calmstorm.intervener.llm import LlmAnnotator, LlmIntervener, chat
from calmstorm.intervener.protocol import Reviewed
from calmstorm.reasoner.prompting import user_message
from calmstorm.records import Author, Intervention, Problem, ReviewOutcome, Trigger, Usage
from calmstorm.settings import IntervenerSettings
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
    monkeypatch.setattr(EndpointPool, "_pause", lambda *ignored: 0.01)


def reviewed(
    server: ChatServer, done=DONE, problem: Problem = WORKSHOP, *, cache=None, reasoner_prompt=None, **settings
) -> Reviewed:
    async def work():
        given = {
            "model": "m",
            "timeout_seconds": 5,
            "connect_seconds": 5,
            "retries": 2,
            "patience_seconds": 0.3,
            **settings,
        }
        chosen = IntervenerSettings(**given)
        intervener = LlmIntervener(chosen, server.url, cache=cache, reasoner_prompt=reasoner_prompt)
        try:
            return await intervener.review(problem, done)
        finally:
            await intervener.close()

    return asyncio.run(work())


def review(server: ChatServer, *words, **settings) -> Intervention | None:
    made = reviewed(server, *words, **settings)
    assert made.outcome is not ReviewOutcome.FAILED, made.reason
    return made.intervention


def test_a_correction_becomes_an_intervention_with_the_prompts_version():
    with ChatServer([reply()]) as server:
        intervention = review(server)
    assert intervention is not None
    assert (intervention.trigger, intervention.intervener) == (Trigger.PREMATURE_SOLVING, "llm:m@intervener-2")
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
    tag = re.findall(r"^<<<(material-\w+)>>>$", prompt, re.MULTILINE)
    assert len(tag) == 3
    assert prompt.count(f"\n<<</{tag[0]}>>>") == 3
    assert "at most 0.1 % of it" in prompt
    assert request["path"] == "/v1/chat/completions"
    assert (request["temperature"], request["top_p"], request["model"]) == (1.0, 0.95, "m")
    assert prompt.count(WORKSHOP.question) == 1
    assert prompt.count(done.response) == 1
    assert "Braces {x} and [[problem]]." in prompt
    assert "- I should code." in prompt
    assert "\n400.0\n" in prompt
    for name in ("action", "trigger_type", "analysis", "target_text", "hint_to_insert"):
        assert f"<{name}>" in prompt


def test_the_reasoners_instructions_are_part_of_the_task():
    with ChatServer([FINE]) as server:
        review(server, reasoner_prompt="calm-1")
        review(server, reasoner_prompt="calm-1")
        first, second = (request["messages"][0]["content"] for request in server.requests)
    assert user_message("calm-1", WORKSHOP.question) in first
    assert first == second
    with pytest.raises(InputError, match="prompt is 'nope'"):
        LlmIntervener(base_url="http://127.0.0.1:1/v1", reasoner_prompt="nope")


def test_the_line_around_material_occurs_nowhere_in_it():
    values = {"task": "?", "response": "!"}
    first = re.search(r"material-\w+", chat.filled("annotator-2", values))
    assert first is not None
    other = re.search(r"material-\w+", chat.filled("annotator-2", {**values, "response": f"<<<{first[0]}>>>"}))
    assert other is not None
    assert other[0] != first[0]


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
        ({"content": None, "refusal": "I can't help with that."}, "it is empty: I can't help with that."),
        ({"content": FINE, "finish_reason": "length"}, "it was cut off"),
        ({"content": FINE, "finish_reason": "content_filter"}, "content filter"),
    ],
)
def test_an_unusable_reply_is_sent_back_with_the_reason(bad, reason):
    with ChatServer([bad, reply()]) as server:
        intervention = review(server)
        messages = server.requests[1]["messages"]
    assert intervention is not None
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert reason in messages[2]["content"]


def test_replies_that_stay_unusable_are_a_failed_review_and_no_verdict():
    with ChatServer(["no"]) as server:
        made = reviewed(server)
        assert len(server.requests) == 3
    assert (made.outcome, made.intervention) == (ReviewOutcome.FAILED, None)
    assert "m gave no usable reply in 3 attempts; the last: <action> occurs 0 times" in made.reason
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (300, 30)


def test_as_many_replies_are_asked_for_as_the_settings_say():
    with ChatServer(["no"]) as server:
        assert "in 5 attempts" in reviewed(server, attempts=5).reason
        assert len(server.requests) == 5


def test_tokens_and_seconds_of_all_attempts_are_summed_up():
    with ChatServer(["no", FINE]) as server:
        usage = reviewed(server).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (200, 20)
    assert 0 < usage.seconds < 5


ODD = ["odd", b"<html>Bad gateway</html>", b'{"choices": [', b"[]", b"null", b'"text"', b'{"choices": "none"}',
       b'{"choices": [7]}', b'{"choices": [{"message": {"content": [1]}}]}',
       b'{"choices": [{"message": null}]}', b"\xff\xfe", b""]  # fmt: skip


@pytest.mark.parametrize("odd", ODD)
def test_an_answer_that_is_no_chat_completion_is_asked_for_again(odd):
    with ChatServer([odd, FINE]) as server:
        assert review(server) is None
        assert len(server.requests) == 2


@pytest.mark.parametrize("odd", ODD)
def test_a_server_that_never_gives_a_chat_completion_is_trouble_of_ours(odd):
    with ChatServer([odd]) as server:
        with pytest.raises(InfrastructureError, match=r"failed 3 times"):
            reviewed(server)
        assert len(server.requests) == 3


def test_wrong_counts_of_tokens_count_as_none():
    body = {"choices": [{"message": {"content": FINE}}], "usage": {"prompt_tokens": "many", "completion_tokens": -4}}
    with ChatServer([json.dumps(body).encode()]) as server:
        usage = reviewed(server).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (0, 0)


@pytest.mark.parametrize("setting", ["temperature", "top_p"])
def test_sampling_can_be_left_out_and_a_refusal_says_so(setting):
    with ChatServer([FINE]) as server:
        review(server, **{setting: "default"})
        assert setting not in server.requests[0]
        assert {"temperature", "top_p"} - {setting} < set(server.requests[0])
    message = f"Unsupported value: '{setting}' is not supported with this model."
    with ChatServer([(400, message)]) as server, pytest.raises(InputError, match=f"set intervener.{setting}=default"):
        reviewed(server)


def test_a_request_that_is_refused_among_others_fails_its_review_only():
    def answer(request: dict):
        long = "plans by hand" in request["messages"][0]["content"]
        return (400, "maximum context length exceeded") if long else FINE

    with ChatServer(answer) as server:
        made = reviewed(server)
        assert len(server.requests) == 2
    assert made.outcome is ReviewOutcome.FAILED
    assert "the server refuses this request" in made.reason
    assert "maximum context length" in made.reason


# ------------------------------------------------------------------ replies by content


def test_an_answered_request_is_not_paid_for_again(tmp_path):
    cache = tmp_path / "run" / "replies.sqlite"
    with ChatServer(["no", reply(), FINE]) as server:
        first = reviewed(server, cache=cache)
        again = reviewed(server, cache=cache)
        assert len(server.requests) == 2
        assert again.intervention == first.intervention
        assert again.usage == Usage()
        reviewed(server, cache=cache, model="other")
        reviewed(server, cache=cache, temperature=0.5)
        reviewed(server, trajectory_of(WORKSHOP, "Something else."), cache=cache)
        assert len(server.requests) == 5
    with sqlite3.connect(cache) as replies:
        rows = replies.execute(
            "SELECT attempt, model, about, problem = '', prompt_tokens, reused FROM replies"
        ).fetchall()
    assert rows[:3] == [
        (1, "m", "w, sample 0, round 0", 0, 100, 0),
        (2, "m", "w, sample 0, round 0", 1, 100, 1),
        (1, "other", "w, sample 0, round 0", 1, 100, 0),
    ]


def test_a_reply_that_could_not_be_used_is_asked_for_again(tmp_path):
    cache = tmp_path / "replies.sqlite"
    with ChatServer(["no", "no", "no", FINE]) as server:
        assert reviewed(server, cache=cache).outcome is ReviewOutcome.FAILED
        assert reviewed(server, cache=cache).outcome is ReviewOutcome.FLAWLESS


def test_no_key_stands_in_the_file_of_replies(tmp_path, monkeypatch):
    monkeypatch.setenv("CALM_INTERVENER_KEY", "sk-very-secret")
    with ChatServer([400, "no", FINE]) as server:
        reviewed(server, cache=tmp_path / "replies.sqlite")
        assert set(server.keys) == {"Bearer sk-very-secret"}
    assert all(b"sk-very-secret" not in path.read_bytes() for path in tmp_path.iterdir())


def test_a_file_of_replies_that_is_none_says_what_to_do(tmp_path):
    cache = tmp_path / "replies.sqlite"
    cache.write_text("This is no database. " * 99)
    with ChatServer([FINE]) as server, pytest.raises(WorkError, match="move the file away"):
        reviewed(server, cache=cache)


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
    with pytest.raises(InfrastructureError, match="could be reached for"):
        review(server, retries=0)


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "CALM_INTERVENER_KEY"), (404, "set the model"), (400, "change model")]
)
def test_a_refusal_says_what_to_do(status, remedy):
    with ChatServer([status]) as server, pytest.raises(InputError, match=remedy):
        review(server)


def test_a_url_is_needed(monkeypatch):
    with pytest.raises(InputError, match="CALM_INTERVENER_URL is not set"):
        LlmIntervener()


def test_the_url_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("CALM_INTERVENER_URL", "https://models.example/v1")
    assert LlmIntervener().name == "llm:gemini-2.5-pro@intervener-2"


# ------------------------------------------------------------------ the annotator


def test_an_annotator_names_triggers_and_sees_no_label():
    async def work(url: str):
        annotator = LlmAnnotator(IntervenerSettings(model="m"), url)
        try:
            return annotator.name, await annotator.annotate(WORKSHOP.question, DONE.response)
        finally:
            await annotator.close()

    with ChatServer(["<trigger_type>Trigger 1;Trigger 7</trigger_type>"]) as server:
        name, triggers = asyncio.run(work(server.url))
        prompt = server.requests[0]["messages"][0]["content"]
    assert name == "llm:m@annotator-2"
    assert triggers == [Trigger.PREMATURE_SOLVING, Trigger.PROTOCOL_VIOLATION]
    assert WORKSHOP.question in prompt
    assert DONE.response in prompt
    assert "400.0" not in prompt


def test_an_annotator_is_shown_the_instructions_where_they_are_known():
    async def work(url: str):
        annotator = LlmAnnotator(IntervenerSettings(model="m"), url)
        try:
            await annotator.annotate("How?", "So.", reasoner_prompt="calm-1")
            return annotator.spent
        finally:
            await annotator.close()

    with ChatServer(["<trigger_type>Correct</trigger_type>"]) as server:
        spent = asyncio.run(work(server.url))
        assert user_message("calm-1", "How?") in server.requests[0]["messages"][0]["content"]
    assert spent.prompt_tokens == 100


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
    assert got["summary"]["annotator"] == "llm:m@annotator-2"
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
