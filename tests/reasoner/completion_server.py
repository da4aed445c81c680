"""A completions server on loopback that follows a script: fast, faulty where a test asks for it, with token ids.

It speaks as vLLM does: stop strings stay in the output, `stop_reason` says what ended it, `return_token_ids` brings the
ids of whatever codec it was given. Nothing here needs a model, and with the codec of single bytes no tokenizer either.

    with CompletionServer(turns("```python\nprint(1)\n```\n", "So \\boxed{1}.")) as server:
        ... ServerReasoner(server.url, "m") ...
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

from calmstorm.reasoner.protocol import TokenCodec
from calmstorm.reasoner.scripted import ByteCodec


@dataclass(frozen=True)
class Fault:
    """An answer that is none."""

    status: int = 500
    body: bytes = b'{"error": {"message": "trouble"}}'
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False
    """Nothing is answered until the client goes away."""
    cut: bool = False
    """The connection breaks in the middle of the body."""


@dataclass(frozen=True)
class Call:
    """A request for a completion, as a script sees it."""

    body: dict[str, Any]
    codec: TokenCodec
    number: int
    """How many requests for a completion came before."""
    key: str | None

    @property
    def prompt_ids(self) -> list[int]:
        """The prompt, where it came as ids."""
        prompt = self.body["prompt"]
        return prompt if isinstance(prompt, list) else []

    @property
    def prompt(self) -> str:
        """The prompt as text."""
        prompt = self.body["prompt"]
        return self.codec.decode(prompt) if isinstance(prompt, list) else str(prompt)


Script = Callable[[Call], "str | Fault | dict[str, Any]"]
"""Returns what the model writes next, a fault, or a whole body to answer with."""


def turns(*texts: str) -> Script:
    """Returns a script that writes the n-th text behind the n-th execution output of the response."""

    def script(call: Call) -> str:
        response = call.prompt.rpartition("assistant\n")[2]
        return texts[min(response.count("```output\n"), len(texts) - 1)]

    return script


class CompletionServer:
    """Serves a script; use it as a context manager. Requests are served by one thread, many at a time."""

    def __init__(
        self,
        script: Script | str,
        *,
        codec: TokenCodec | None = None,
        end_of_turn: int = ByteCodec.END_OF_TURN,
        models: tuple[str, ...] = ("m",),
        seconds: float = 0.0,
        keep: bool = True,
        port: int = 0,
    ) -> None:
        """Prepares a server.

        Args:
            script: What the model writes; a text is written at every request.
            codec: Of the token ids.
            end_of_turn: Id behind a text that no stop string ended.
            models: What `/v1/models` lists.
            seconds: How long an answer takes.
            keep: Whether `requests` are kept.
            port: Where to listen; 0 takes a free one, see `url`.
        """
        self.script: Script = script if callable(script) else lambda _: script
        self.codec: TokenCodec = codec or ByteCodec()
        self.end_of_turn, self.models, self.seconds, self.keep, self.port = end_of_turn, models, seconds, keep, port
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.probes = 0
        """Requests of any other kind."""
        self.count = 0
        self.active = 0
        self.peak = 0
        """Most requests at once."""
        self.disconnects = 0
        """Clients that went away before they were answered."""
        self.healthy = True
        self.pages: dict[str, Callable[[Any], dict[str, Any] | Fault]] = {}
        """What is answered elsewhere than below `/v1`, by path, given the body of the request."""
        self.context = 4096
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._listener: socket.socket | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self._do(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> None:
        """Begins to listen, on the same port as before."""
        self._do(self._listen())

    def stop(self) -> None:
        """Stops listening and breaks every connection, as a server does that dies."""
        self._do(self._die())

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._loop.add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accepts a connection at once: asyncio's own ways lose one, open and unanswered, that comes at the end."""
        with suppress(OSError):
            serving = self._loop.create_task(self._serve(listener.accept()[0]))
            self._connections.add(serving)
            serving.add_done_callback(self._connections.discard)

    async def _die(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        while self._connections:
            for writer in self._writers:
                writer.transport.abort()
            await asyncio.sleep(0.001)  # those just accepted have a writer in a later turn of the loop
        await asyncio.sleep(0.01)  # transports close in a later turn of the loop

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=2**26)
        self._writers.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; False when the connection is at its end."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")
        method, path, _ = line.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (h.partition(":") for h in lines if h)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET":
            self.probes += 1
            writer.write((await self._page(path, None))[0] if path in self.pages else self._looked_up(path))
            await writer.drain()
            return True
        self.count += 1
        self.active += 1
        self.peak = max(self.peak, self.active)
        gone = asyncio.ensure_future(reader.read(1))
        try:
            if path.startswith("/v1/"):
                answer = asyncio.ensure_future(self._answer(json.loads(body), headers.get("authorization")))
            else:
                answer = asyncio.ensure_future(self._page(path, json.loads(body or b"null")))
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                self.disconnects += 1
                answer.cancel()
                return False
            data, cut = answer.result()
            writer.write(data)
            await writer.drain()
            return not cut
        finally:
            self.active -= 1
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    def _looked_up(self, path: str) -> bytes:
        if path == "/health":
            return _response(200 if self.healthy else 503, b"")
        if path == "/v1/models":
            rows = [
                {"id": name, "object": "model", "owned_by": "vllm", "max_model_len": self.context}
                for name in self.models
            ]
            return _response(200, json.dumps({"object": "list", "data": rows}).encode())
        return _response(404, b"{}")

    async def _page(self, path: str, body: Any) -> tuple[bytes, bool]:
        if path not in self.pages:
            return _response(404, b"{}"), False
        answer = self.pages[path](body)
        if isinstance(answer, Fault):
            return _response(answer.status, answer.body), False
        return _response(200, json.dumps(answer).encode()), False

    async def _answer(self, body: dict[str, Any], key: str | None) -> tuple[bytes, bool]:
        call = Call(body, self.codec, self.count - 1, key)
        if self.keep:
            self.requests.append(body)
            self.keys.append(key)
        if self.seconds:
            await asyncio.sleep(self.seconds)
        written = self.script(call)
        if isinstance(written, Fault):
            if written.hang:
                await asyncio.Event().wait()
            data = _response(written.status, written.body, written.headers)
            return (data[: -max(1, len(written.body) // 2)], True) if written.cut else (data, False)
        if body["model"] not in self.models:
            return _response(404, b'{"error": {"message": "no such model"}}'), False
        answer = written if isinstance(written, dict) else self.completion(body, written)
        return _response(200, json.dumps(answer).encode()), False

    def completion(self, body: dict[str, Any], text: str) -> dict[str, Any]:
        """Returns the body of an answer: `text` up to the first stop string or to `max_tokens`."""
        hits = [(text.index(stop) + len(stop), stop) for stop in body.get("stop") or [] if stop in text]
        end, reason = min(hits) if hits else (len(text), None)
        ids = self.codec.encode(text[:end]) + ([] if hits else [self.end_of_turn])
        text, finish = text[:end], "stop"
        if len(ids) > body["max_tokens"]:
            ids, reason, finish = ids[: body["max_tokens"]], None, "length"
            text = self.codec.decode(ids)
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish, "stop_reason": reason}
        choice["logprobs"] = None
        if body.get("logprobs") is not None:
            choice["logprobs"] = {"token_logprobs": [-0.5] * len(ids)}
        if body.get("return_token_ids"):
            choice["token_ids"] = ids
        prompt = body["prompt"]
        count = len(prompt) if isinstance(prompt, list) else len(self.codec.encode(prompt))
        usage = {"prompt_tokens": count, "completion_tokens": len(ids), "total_tokens": count + len(ids)}
        return {"id": "1", "object": "text_completion", "model": body["model"], "choices": [choice], "usage": usage}


def _response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    given = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode("latin-1") + body
