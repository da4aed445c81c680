from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.reasoner.protocol import CompletionStop, Prefix, Sampling
from calmstorm.reasoner.server import ServerReasoner
from calmstorm.settings import ServerSettings

STORY = "Let me see.\n```python\nprint(1)\n```\nand the rest"
STOP = "```\n"


class FakeServer(ThreadingHTTPServer):
    """A completions endpoint on loopback that tells STORY, in one of several dialects."""

    daemon_threads = True

    def __init__(self, dialect: str, tokenizer=None, failures: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.dialect, self.tokenizer, self.failures = dialect, tokenizer, failures
        self.requests: list[dict] = []
        self.keys: list[str] = []

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FakeServer

    def log_message(self, *args):
        pass

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        self.server.keys.append(self.headers["Authorization"])
        if self.server.failures:
            self.server.failures -= 1
            return self.answer(503, {"error": {"message": "loading"}})
        if self.path != "/v1/completions" or request["model"] != "m":
            return self.answer(404, {"error": {"message": "no such model"}})
        if request.get("stream"):
            return self.stream(request)
        if self.server.dialect == "strict" and "include_stop_str_in_output" in request:
            return self.answer(400, {"error": {"message": "unknown field include_stop_str_in_output"}})
        return self.complete(request)

    def complete(self, request):
        stop = request.get("stop") or []
        hit = bool(stop)
        cut = STORY.index(stop[0]) if hit else len(STORY)
        if self.server.dialect == "vllm":
            text = STORY[: cut + len(stop[0])] if hit else STORY
            choice = {"stop_reason": stop[0] if hit else None}
            if self.server.tokenizer is not None:
                ids = self.server.tokenizer(text)["input_ids"] + ([] if hit else [self.server.tokenizer.eos_token_id])
                choice["token_ids"] = ids
                choice["logprobs"] = {"token_logprobs": [-0.5] * len(ids), "tokens": ["x"] * len(ids)}
        else:  # "plain": strips the stop string, knows no further fields
            text, choice = STORY[:cut], {}
        choice = {"text": text, "finish_reason": "stop", "index": 0, "logprobs": None, **choice}
        self.answer(200, {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]})

    def stream(self, request):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        told = STORY.removeprefix(request["prompt"]) if self.server.dialect != "short" else STORY[:5]
        try:
            for start in range(0, len(told), 3):
                finish = None
                if start + 3 >= len(told):
                    finish = "length" if self.server.dialect == "short" else "stop"
                choice = {"text": told[start : start + 3], "index": 0, "finish_reason": finish, "logprobs": None}
                chunk = {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            pass  # the client has heard enough

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def ask(server, *, tokenizer=None, stop=(STOP,), prefix=None, sampling=None, model="m", times=1, **settings):
    async def go():
        reasoner = ServerReasoner(
            server if isinstance(server, str) else server.url,
            model,
            tokenizer=tokenizer,
            settings=ServerSettings(connect_seconds=5, **{"retries": 2, **settings}),
        )
        given = prefix or reasoner.render("How many {chairs}?")
        try:
            return [
                await reasoner.generate(given, stop=stop, max_tokens=99, sampling=sampling or Sampling(seed=3))
                for _ in range(times)
            ][-1]
        finally:
            await reasoner.close()

    return asyncio.run(asyncio.wait_for(go(), 60))


@pytest.fixture
def tokenizer_directory(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.mark.parametrize("dialect", ["vllm", "plain", "strict"])
def test_returns_text_with_the_stop_string_whatever_the_server_can_do(dialect):
    with FakeServer(dialect) as server:
        completion = ask(server)
    assert completion.text == STORY[: STORY.index("and the rest")]
    assert completion.stop is CompletionStop.STOP_STRING
    assert completion.token_ids is None


@pytest.mark.parametrize("dialect", ["vllm", "plain", "strict"])
def test_tells_the_end_of_the_turn_when_no_stop_string_was_written(dialect):
    with FakeServer(dialect) as server:
        completion = ask(server, stop=())
    assert completion.text == STORY
    assert completion.stop is CompletionStop.END_OF_TURN


@pytest.mark.parametrize(("dialect", "requests"), [("vllm", 3), ("plain", 4), ("strict", 4)])
def test_remembers_what_the_server_can_do(dialect, requests):
    with FakeServer(dialect) as server:
        ask(server, times=3)
    assert len(server.requests) == requests


def test_tells_the_length_limit_when_a_stream_ends_there():
    with FakeServer("short") as server:
        server.dialect = "strict"
        completion = None

        async def go():
            reasoner = ServerReasoner(server.url, "m")
            await reasoner.generate(Prefix(text="?"), stop=(STOP,), max_tokens=9, sampling=Sampling())
            server.dialect = "short"
            result = await reasoner.generate(Prefix(text="?"), stop=(STOP,), max_tokens=9, sampling=Sampling())
            await reasoner.close()
            return result

        completion = asyncio.run(go())
    assert completion.stop is CompletionStop.LENGTH
    assert completion.text == STORY[:5]


def test_sends_and_receives_token_ids_when_there_is_a_tokenizer(tokenizer, tokenizer_directory):
    with FakeServer("vllm", tokenizer) as server:
        completion = ask(server, tokenizer=tokenizer_directory, sampling=Sampling(temperature=1.0, seed=1))
        ended = ask(server, tokenizer=tokenizer_directory, stop=())
    sent = server.requests[0]
    assert all(isinstance(i, int) for i in sent["prompt"])
    assert tokenizer.decode(sent["prompt"]).startswith("<|im_start|>user\n")
    assert "How many {chairs}?" in tokenizer.decode(sent["prompt"])
    assert completion.token_ids == tuple(tokenizer(completion.text)["input_ids"])
    assert completion.text.endswith(STOP)
    assert completion.stop is CompletionStop.STOP_STRING
    assert completion.logprobs == (-0.5,) * len(completion.token_ids)
    assert ended.stop is CompletionStop.END_OF_TURN
    assert ended.token_ids[-1] == tokenizer.eos_token_id
    assert ended.text == STORY


def test_records_log_probabilities_only_when_they_are_of_the_sampled_distribution(tokenizer, tokenizer_directory):
    warm = Sampling(temperature=0.6, seed=1)
    with FakeServer("vllm", tokenizer) as server:
        assert ask(server, tokenizer=tokenizer_directory, sampling=warm).logprobs is None
        assert ask(server, tokenizer=tokenizer_directory, sampling=warm, sampled_logprobs=True).logprobs is not None


def test_refuses_a_server_without_token_ids_when_a_tokenizer_is_given(tokenizer_directory):
    with FakeServer("plain") as server, pytest.raises(InputError, match="returns no token ids"):
        ask(server, tokenizer=tokenizer_directory)


def test_tries_again_when_the_server_is_busy():
    with FakeServer("vllm", failures=1) as server:
        assert ask(server).text.endswith(STOP)
    assert len(server.requests) == 2


def test_gives_up_when_the_server_keeps_failing():
    with FakeServer("vllm", failures=9) as server, pytest.raises(InfrastructureError, match="failed 2 times"):
        ask(server, retries=1)
    assert len(server.requests) == 2


def test_gives_up_when_nobody_listens():
    with pytest.raises(InfrastructureError, match=r"no server could be reached for 0\.1 seconds"):
        ask("http://127.0.0.1:9/v1", retries=0, patience_seconds=0.1)


def test_says_what_to_change_when_the_model_is_unknown():
    with FakeServer("vllm") as server, pytest.raises(InputError, match="set the model"):
        ask(server, model="other")
