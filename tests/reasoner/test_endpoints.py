"""Servers that fail, answer oddly, go away and come back; token ids of the pocket model's tokenizer in and out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import pytest

from calmstorm.endpoint.client import asked_pause
from calmstorm.errors import InfrastructureError, InputError
from calmstorm.interpreter.limits import Limits
from calmstorm.reasoner.codec import TokenizerCodec, load_tokenizer
from calmstorm.reasoner.opening import open_reasoner, pocket_directory, server_urls
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling
from calmstorm.reasoner.server import ServerReasoner
from calmstorm.records import Execution
from calmstorm.rollout import rollout
from calmstorm.settings import RolloutLimits, ServerSettings
from tests.reasoner.completion_server import Call, CompletionServer, Fault, turns

POCKET = str(pocket_directory())
STOP = "```\n"
BLOCK = "```python\nprint(1)\n```\nand the rest"
SOON = {"retry-after-ms": "5"}


@pytest.fixture(scope="module")
def codec() -> TokenizerCodec:
    return TokenizerCodec(load_tokenizer(POCKET))


@pytest.fixture
def serve(codec: TokenizerCodec) -> Iterator[Callable[..., CompletionServer]]:
    servers: list[CompletionServer] = []

    def start(script: Any = BLOCK, **options: Any) -> CompletionServer:
        server = CompletionServer(script, codec=codec, end_of_turn=codec.tokenizer.eos_token_id, **options)
        servers.append(server.__enter__())
        return server

    yield start
    for server in servers:
        server.__exit__()


def opened(codec: TokenizerCodec, *servers: CompletionServer, **settings: Any) -> ServerReasoner:
    chosen = ServerSettings(**{"retries": 4, "patience_seconds": 20, "connect_seconds": 2, **settings})
    return ServerReasoner([server.url for server in servers], "m", tokenizer=codec, prompt="pocket-1", settings=chosen)


async def continued(reasoner: ServerReasoner, question: str = "How?", seed: int = 1, **more: Any) -> Completion:
    prefix = more.pop("prefix", None) or reasoner.render(question)
    sampling = Sampling(seed=seed, **more)
    return await reasoner.generate(prefix, stop=(STOP,), max_tokens=300, sampling=sampling)


def run(reasoner: ServerReasoner, work: Coroutine[Any, Any, Any]) -> Any:
    async def closing() -> Any:
        try:
            return await asyncio.wait_for(work, 30)
        finally:
            await reasoner.close()

    return asyncio.run(closing())


def ask(codec: TokenizerCodec, server: CompletionServer, **settings: Any) -> Completion:
    reasoner = opened(codec, server, **settings)
    return run(reasoner, continued(reasoner))


def changed(**fields: Any) -> Callable[[Call], dict[str, Any]]:
    """Returns a script whose answers have other fields in their choice; `choices` replaces them all."""

    def script(call: Call) -> dict[str, Any]:
        ids = call.codec.encode("```python\nprint(1)\n```\n")
        choice = {"text": "x", "finish_reason": "stop", "stop_reason": STOP, "token_ids": ids, **fields}
        return {"choices": fields.get("choices", [choice])}

    return script


class NoRunner:
    """For rollouts that write no code."""

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        raise AssertionError(code)


def once(fault: Any) -> Callable[[Call], Any]:
    return lambda call: fault if call.number == 0 else BLOCK


FAULTS = {
    "429": Fault(429, headers=SOON),
    "500": Fault(500, headers=SOON),
    "503": Fault(503, headers=SOON),
    "no JSON": Fault(200, b"<html>busy</html>"),
    "half of JSON": Fault(200, b'{"choices": [{"text": "'),
    "cut": Fault(200, b'{"choices": [{"text": "' + 99 * b"x", cut=True),
    "no choices": Fault(200, b'{"choices": []}'),
    "a list": Fault(200, b"[1]"),
    "null": Fault(200, b"null"),
}
ODD: dict[str, dict[str, Any]] = {
    "abort": {"finish_reason": "abort", "text": "", "token_ids": []},
    "unfinished": {"finish_reason": None},
    "choice is a text": {"choices": ["x"]},
    "text is a number": {"text": 1},
    "ids are texts": {"token_ids": ["1"]},
    "ids are fractions": {"token_ids": [1.5]},
    "ids are negative": {"token_ids": [-1]},
    "ids are outside the vocabulary": {"token_ids": [10**7]},
    "too many ids": {"token_ids": [5] * 301},
    "log-probabilities are no numbers": {"logprobs": {"token_logprobs": [float("nan")]}},
    "empty at a stop string": {"text": "", "token_ids": []},
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_asked_again(codec: TokenizerCodec, serve: Any, name: str) -> None:
    server = serve(once(FAULTS[name]))
    assert ask(codec, server).text == "```python\nprint(1)\n```\n"
    assert server.count == 2


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_fails_its_request_and_nothing_else(codec: TokenizerCodec, serve: Any, name: str) -> None:
    server = serve(changed(**ODD[name]))
    with pytest.raises(InfrastructureError, match="failed 2 times") as caught:
        ask(codec, server, retries=1)
    assert "\n" not in str(caught.value)
    assert server.count == 2


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_fails_alone_and_is_not_asked_again(codec: TokenizerCodec, serve: Any, status: int) -> None:
    server = serve(once(Fault(status)))
    reasoner = opened(codec, server)

    async def both() -> Completion:
        with pytest.raises(InfrastructureError, match="refuses the request"):
            await continued(reasoner)
        return await continued(reasoner)

    assert run(reasoner, both()).stop is CompletionStop.STOP_STRING
    assert server.count == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_or_model_is_the_users_business_at_once(codec: TokenizerCodec, serve: Any, status: int) -> None:
    server = serve(lambda call: Fault(status))
    with pytest.raises(InputError):
        ask(codec, server)
    assert server.count == 1


def test_retry_after_is_obeyed_and_bounded_by_patience(codec: TokenizerCodec, serve: Any) -> None:
    began = time.monotonic()
    ask(codec, serve(once(Fault(429, headers={"Retry-After": "0.3"}))))
    assert time.monotonic() - began >= 0.3
    began = time.monotonic()
    ask(codec, serve(once(Fault(429, headers={"Retry-After": "3600"}))), patience_seconds=0.1)
    assert time.monotonic() - began < 2


def test_retry_after_is_read_in_seconds_and_as_a_date() -> None:
    assert asked_pause(httpx2.Headers({"Retry-After": "7"})) == 7
    assert asked_pause(httpx2.Headers({"Retry-After": formatdate(time.time() + 60, usegmt=True)})) == pytest.approx(
        60, abs=3
    )
    assert asked_pause(httpx2.Headers({"Retry-After": formatdate(time.time() - 60, usegmt=True)})) == 0
    assert asked_pause(httpx2.Headers({"Retry-After": "soon"})) is None
    assert asked_pause(httpx2.Headers({})) is None


def test_a_server_that_hangs_is_given_up_after_the_time_limit(codec: TokenizerCodec, serve: Any) -> None:
    server = serve(once(Fault(hang=True)))
    assert ask(codec, server, timeout_seconds=0.1, connect_seconds=0.1).stop is CompletionStop.STOP_STRING
    assert server.disconnects == 1


def test_a_request_says_all_that_a_server_would_else_take_from_the_models_own_settings(
    codec: TokenizerCodec, serve: Any
) -> None:
    server = serve()
    reasoner = opened(codec, server)

    async def both() -> None:
        await continued(reasoner)
        await continued(reasoner, top_k=20, min_p=0.1, temperature=1.0)

    run(reasoner, both())
    plain, limited = server.requests
    assert (plain["top_k"], plain["min_p"], plain["repetition_penalty"]) == (-1, 0.0, 1.0)
    assert (limited["top_k"], limited["min_p"]) == (20, 0.1)
    assert plain["return_token_ids"] is True
    assert "logprobs" not in plain
    assert limited["logprobs"] == 0
    assert codec.decode(plain["prompt"]) == reasoner.render("How?").text


def test_what_ended_a_completion_is_taken_from_the_server_and_not_guessed(codec: TokenizerCodec, serve: Any) -> None:
    end = codec.tokenizer.eos_token_id
    other = codec.encode("x")[0]
    cases: list[tuple[dict[str, Any], CompletionStop, str]] = [
        ({"token_ids": [other, end], "stop_reason": None}, CompletionStop.END_OF_TURN, "x"),
        ({"token_ids": [other], "stop_reason": other}, CompletionStop.END_OF_TURN, ""),
        ({"token_ids": [other, end], "stop_reason": "y"}, CompletionStop.STOP_STRING, "x" + codec.decode([end])),
        ({"token_ids": [other], "stop_reason": None, "finish_reason": "length"}, CompletionStop.LENGTH, "x"),
        ({"token_ids": [], "stop_reason": None}, CompletionStop.END_OF_TURN, ""),
    ]
    for fields, stop, text in cases:
        completion = ask(codec, serve(changed(**fields)))
        assert (completion.stop, completion.text) == (stop, text)


def test_sglang_says_in_its_own_field_what_ended_a_completion(codec: TokenizerCodec, serve: Any) -> None:
    ids = codec.encode("x")
    for matched, stop in (("```\n", CompletionStop.STOP_STRING), (codec.tokenizer.eos_token_id, "end_of_turn")):
        choice = {"text": "x", "finish_reason": "stop", "matched_stop": matched, "token_ids": ids}
        assert ask(codec, serve(changed(choices=[choice]))).stop == stop


def test_rollouts_stay_on_their_server_and_new_ones_go_where_least_is_to_do(codec: TokenizerCodec, serve: Any) -> None:
    servers = [serve(turns("```python\n1\n```\n"), seconds=0.01) for _ in range(3)]
    reasoner = opened(codec, *servers)

    async def calls(number: int) -> None:
        prefix = reasoner.render(f"Question {number}?")
        for _ in range(4):
            done = await continued(reasoner, seed=number, prefix=prefix)
            text, ids = prefix.text + done.text, (*(prefix.token_ids or ()), *(done.token_ids or ()))
            prefix = Prefix(text=text, token_ids=ids)

    async def many() -> None:
        await asyncio.gather(*(calls(number) for number in range(30)))

    run(reasoner, many())
    served = [{codec.decode(request["prompt"]).split("?")[0] for request in server.requests} for server in servers]
    assert [len(prompts) for prompts in served] == [10, 10, 10]
    assert not served[0] & served[1]
    assert not served[1] & served[2]


def test_a_later_rollout_of_a_problem_goes_where_its_prompt_is_cached(codec: TokenizerCodec, serve: Any) -> None:
    servers = [serve() for _ in range(3)]
    reasoner = opened(codec, *servers)

    async def rounds() -> None:
        for number in range(6):
            for seed in range(3):
                await continued(reasoner, f"Question {number}?", seed)

    run(reasoner, rounds())
    assert [server.count for server in servers] == [6, 6, 6]


def test_a_server_that_dies_is_left_and_comes_back(codec: TokenizerCodec, serve: Any) -> None:
    first, second = serve(seconds=0.02), serve(seconds=0.02)
    reasoner = opened(codec, first, second)

    async def go() -> list[Completion]:
        work = asyncio.gather(*(continued(reasoner, f"Question {number}?", number) for number in range(20)))
        await asyncio.sleep(0.01)
        await asyncio.to_thread(first.stop)
        done = await work
        assert second.count >= 20
        await asyncio.to_thread(first.start)
        before = first.count
        for number in range(200):
            await continued(reasoner, f"Later {number}?", number)
            if first.count > before:
                break
        assert first.count > before
        return done

    assert all(completion.stop is CompletionStop.STOP_STRING for completion in run(reasoner, go()))


def test_a_server_that_keeps_failing_is_left_to_the_others(codec: TokenizerCodec, serve: Any) -> None:
    bad, good = serve(lambda call: Fault(500, headers=SOON)), serve()
    reasoner = opened(codec, bad, good)

    async def go() -> None:
        for number in range(12):
            await continued(reasoner, f"Question {number}?", number)

    run(reasoner, go())
    assert good.count == 12
    assert bad.count <= 5


def test_a_server_that_asks_for_a_long_pause_is_left_to_the_others(
    codec: TokenizerCodec, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    busy, free = serve(lambda call: Fault(429, headers={"Retry-After": "600"})), serve()
    reasoner = opened(codec, busy, free, patience_seconds=3600)

    async def go() -> None:
        async with asyncio.timeout(20):
            for number in range(6):
                await continued(reasoner, f"Question {number}?", number)

    run(reasoner, go())
    assert (busy.count, free.count) == (1, 6)
    assert "asks for a pause of 600 seconds" in capsys.readouterr().err


def test_an_outage_of_all_servers_loses_nothing(codec: TokenizerCodec, serve: Any) -> None:
    servers = [serve(seconds=0.01), serve(seconds=0.01)]
    reasoner = opened(codec, *servers, retries=1)

    async def go() -> list[Completion]:
        work = asyncio.gather(*(continued(reasoner, f"Question {number}?", number) for number in range(40)))
        for server in servers:
            await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.1)
        for server in servers:
            await asyncio.to_thread(server.start)
        return await work

    assert len(run(reasoner, go())) == 40


def test_once_patience_is_over_requests_fail_at_once(
    codec: TokenizerCodec, serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve()
    server.stop()
    reasoner = opened(codec, server, patience_seconds=0.2)

    async def go() -> None:
        began = time.monotonic()
        for number in range(20):
            with pytest.raises(InfrastructureError, match=r"no server could be reached for 0\.2 seconds"):
                await continued(reasoner, seed=number)
        assert time.monotonic() - began < 2

    run(reasoner, go())
    assert "waiting up to 0.2 seconds" in capsys.readouterr().err


def test_cancelling_a_task_closes_its_request(codec: TokenizerCodec, serve: Any) -> None:
    server = serve(lambda call: Fault(hang=True))
    reasoner = opened(codec, server)

    async def go() -> None:
        task = asyncio.create_task(continued(reasoner))
        while not server.active:
            await asyncio.sleep(0.005)
        task.cancel()
        while not server.disconnects:
            await asyncio.sleep(0.005)

    run(reasoner, go())
    assert server.disconnects == 1


def test_at_most_so_many_requests_are_in_flight_on_each_server(codec: TokenizerCodec, serve: Any) -> None:
    servers = [serve(seconds=0.01) for _ in range(2)]
    reasoner = opened(codec, *servers, concurrency=3)

    async def go() -> None:
        await asyncio.gather(*(continued(reasoner, f"Question {number}?", number) for number in range(30)))

    run(reasoner, go())
    assert [server.peak for server in servers] == [3, 3]


def test_no_key_shows_up_with_several_servers(
    codec: TokenizerCodec, serve: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CALM_API_KEY", "sk-first")
    echo = json.dumps({"error": {"message": "trouble with sk-first"}}).encode()
    servers = [serve(lambda call: Fault(500, echo, SOON)) for _ in range(2)]
    reasoner = opened(codec, *servers, patience_seconds=0.1)
    with pytest.raises(InfrastructureError) as caught:
        run(reasoner, continued(reasoner))
    assert set(servers[0].keys + servers[1].keys) == {"Bearer sk-first"}
    assert "sk-first" not in str(caught.value) + capsys.readouterr().err


def test_the_context_that_a_server_states_is_kept_to(serve: Any) -> None:
    server = serve()
    server.context = 40
    result = open_reasoner(server.url, "m", tokenizer=POCKET)
    assert result.context_tokens == 40
    assert isinstance(result.reasoner, ServerReasoner)
    long = "many words " * 40
    completion = run(result.reasoner, continued(result.reasoner, long))
    assert (completion.stop, completion.text) == (CompletionStop.LENGTH, "")
    assert server.count == 0


def test_the_only_model_of_a_server_is_found_and_of_several_one_is_to_be_named(serve: Any) -> None:
    assert open_reasoner(serve().url, tokenizer=POCKET).model == "m"
    with pytest.raises(InputError, match=r"serves 2 models \(a, b\); name one with --model"):
        open_reasoner(serve(models=("b", "a")).url, tokenizer=POCKET)


def test_tokenizer_and_prompt_are_those_of_the_model(serve: Any) -> None:
    opened_by_name = open_reasoner(serve(models=(POCKET,)).url)
    assert opened_by_name.reasoner.codec is not None
    assert opened_by_name.prompt == "pocket-1"
    with pytest.raises(InputError, match=r"name a directory or hub id with --tokenizer, or talk in text with --text"):
        open_reasoner(serve().url)


def test_text_mode_renders_with_the_models_template_and_counts_its_tokens(codec: TokenizerCodec, serve: Any) -> None:
    server = serve(models=(POCKET,))
    result = open_reasoner(server.url, server=ServerSettings(text_only=True))
    assert isinstance(result.reasoner, ServerReasoner)
    assert result.reasoner.codec is None
    completion = run(result.reasoner, continued(result.reasoner))
    assert completion.token_ids is None
    assert completion.tokens == len(codec.encode("```python\nprint(1)\n```\n"))
    assert isinstance(server.requests[0]["prompt"], str)


def test_a_rollout_in_text_counts_the_tokens_that_the_server_reports(serve: Any) -> None:
    server = serve("So it is \\boxed{7}.")
    reasoner = ServerReasoner(server.url, "m", settings=ServerSettings(text_only=True))

    async def go() -> int:
        done = await rollout(
            reasoner, NoRunner(), reasoner.render("How?"), limits=RolloutLimits(), sampling=Sampling(seed=1)
        )
        return done.usage.completion_tokens

    written = len(server.codec.encode("So it is \\boxed{7}.")) + 1
    assert run(reasoner, go()) == written


def test_text_mode_without_a_tokenizer_says_that_it_frames_in_chatml(
    serve: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    result = open_reasoner(serve().url, server=ServerSettings(text_only=True))
    assert result.reasoner.render("How?").text.startswith("<|im_start|>user\n")
    assert "prompts are framed in ChatML" in capsys.readouterr().err


def test_servers_are_named_with_commas_or_in_a_file(tmp_path: Path) -> None:
    urls = ("http://a:1/v1", "http://b:2/v1")
    listed = tmp_path / "servers.txt"
    listed.write_text("# two GPUs\nhttp://a:1/v1\n\nhttp://b:2/v1  # slow\n")
    assert server_urls("http://a:1/v1, http://b:2/v1") == server_urls(str(listed)) == urls
    assert server_urls("pocket") == server_urls("Qwen/Qwen3-4B") == server_urls(str(tmp_path)) == ()
    listed.write_text("http://a:1/v1\nsk-secret\n")
    with pytest.raises(InputError, match="has a base URL on each line"):
        server_urls(str(listed))
    with pytest.raises(InputError, match="twice"):
        server_urls("http://a,http://a")
