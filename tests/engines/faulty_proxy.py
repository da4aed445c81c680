"""A proxy on loopback that stands before a server and spoils a share of the answers, for tests.

It knows the ways in which servers and what lies before them fail: busy, broken, silent, cut off in the middle, and
answers with status 200 that are none. Which request meets which fault follows from a seed.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Self
from urllib.parse import urlsplit


class Fault(StrEnum):
    """One way to fail."""

    BUSY = "429 with Retry-After"
    BROKEN = "500 that quotes the key"
    SILENT = "no answer until the client leaves"
    CUT = "connection cut in the middle of the body"
    WRONG_TYPES = "200 with other types than expected"
    PAGE = "200 with an HTML page that quotes the key"
    EMPTY = "200 without choices"
    ABORTED = "200 with finish_reason abort and no text"


class FaultyProxy:
    """Passes requests on to `target` and spoils a share of them; use it as a context manager."""

    def __init__(self, target: str, *, share: float, seed: int, faults: Sequence[Fault] = tuple(Fault)) -> None:
        """Prepares a proxy.

        Args:
            target: Base URL of the server behind it.
            share: Of requests that are spoiled, 0 to 1.
            seed: Of the faults.
            faults: Which occur, all equally often.
        """
        parts = urlsplit(target)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._path = parts.path
        self._share, self._faults = share, tuple(faults)
        self._rng = random.Random(seed)
        self.requests = 0
        """POST requests so far."""
        self.met: Counter[Fault] = Counter()
        """Faults so far."""
        self.keys: set[str] = set()
        """What clients sent as Authorization."""
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        """Base URL, with the path of the target's."""
        return f"http://127.0.0.1:{self.port}{self._path}"

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(self, *exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**26, backlog=512)
        self._server = server
        self.port = server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._pass_on(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # one of the two sides went away
        finally:
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; False when the connection is at its end."""
        head = await reader.readuntil(b"\r\n\r\n")
        headers = _headers(head)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        fault = None
        if head.startswith(b"POST"):  # health checks and lists of models are passed on
            self.requests += 1
            self.keys.add(headers.get("authorization", ""))
            fault = self._rng.choice(self._faults) if self._rng.random() < self._share else None
        if fault is Fault.SILENT:
            self.met[fault] += 1
            await reader.read(1)  # until the client has had enough
            return False
        if fault in (None, Fault.CUT):
            answer = await self._ask(head, body)
        else:
            answer = _spoilt(fault, headers.get("authorization", ""))
        if fault is not None:
            self.met[fault] += 1
        if fault is Fault.CUT:
            answer = answer[: answer.index(b"\r\n\r\n") + 4 + _length(answer) // 2]
        writer.write(answer)
        await writer.drain()
        return fault is not Fault.CUT

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        """Returns the target's answer to a request, as it came."""
        reader, writer = await asyncio.open_connection(*self._target, limit=2**26)
        try:
            writer.write(head + body)
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            return answer + await reader.readexactly(_length(answer))
        finally:
            writer.close()


def _spoilt(fault: Fault, key: str) -> bytes:
    """Returns an answer that is none."""
    if fault is Fault.BUSY:
        return _answer(429, {"error": {"message": "too many requests"}}, retry="1")
    if fault is Fault.BROKEN:
        return _answer(500, {"error": {"message": f"could not serve {key}"}})
    if fault is Fault.WRONG_TYPES:
        return _answer(200, {"id": 7, "object": None, "choices": {"0": "text"}, "usage": "many"})
    if fault is Fault.PAGE:
        return _answer(200, f"<html><title>Gateway</title><p>{key}</p></html>")
    if fault is Fault.EMPTY:
        return _answer(200, {"id": "1", "object": "text_completion", "model": "m", "choices": []})
    # Both kinds of answer in one: each side reads its own part.
    choice = {
        "index": 0,
        "text": "",
        "token_ids": [],
        "message": {"role": "assistant", "content": ""},
        "finish_reason": "abort",
        "stop_reason": None,
        "logprobs": {"token_logprobs": []},
    }
    return _answer(200, {"id": "1", "object": "text_completion", "model": "m", "created": 1, "choices": [choice]})


def _answer(status: int, content: Any, retry: str | None = None) -> bytes:
    page = isinstance(content, str)
    body = content.encode() if page else json.dumps(content).encode()
    lines = [
        f"HTTP/1.1 {status} Status",
        f"Content-Type: {'text/html' if page else 'application/json'}",
        f"Content-Length: {len(body)}",
        *([f"Retry-After: {retry}"] if retry is not None else []),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def _length(head: bytes) -> int:
    return int(_headers(head[: head.index(b"\r\n\r\n")]).get("content-length", 0))
