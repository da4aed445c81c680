"""A chat completions endpoint on loopback that gives canned replies, for tests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = str | int | dict | bytes | tuple[int, str]


class ChatServer(ThreadingHTTPServer):
    """Answers request after request, the last reply again and again, or by a function of the request.

    A text is what the model says, a number an HTTP status, a dict the parts of a choice (`content`, `finish_reason`,
    `refusal`), bytes a whole body, a pair a status with its message. `slow` is a reply that never comes, `cut` a broken
    connection, `odd` a completion without choices. Each reply costs 100 prompt tokens and 10 completion tokens.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, replies: Sequence[Reply] | Callable[[dict], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.by = replies if callable(replies) else None
        self.replies: list[Reply] = [] if callable(replies) else list(replies)
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.turn = threading.Lock()

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def log_message(self, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.turn:
            self.server.requests.append({**request, "path": self.path})
            self.server.keys.append(self.headers["Authorization"])
            if self.server.by is not None:
                reply = self.server.by(request)
            else:
                reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        if reply == "slow":
            time.sleep(3)
            return
        if reply == "cut":
            return
        if isinstance(reply, int):
            self._answer(reply, {"error": {"message": f"trouble with {self.headers['Authorization']}"}})
            return
        if isinstance(reply, tuple):
            self._answer(reply[0], {"error": {"message": reply[1]}})
            return
        if isinstance(reply, bytes):
            self._answer(200, reply)
            return
        parts = {"content": reply} if isinstance(reply, str) else dict(reply)
        finish_reason = parts.pop("finish_reason", "stop")
        choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **parts}}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        choices = [] if reply == "odd" else [choice]
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
        self._answer(200, body)

    def _answer(self, status: int, body: dict | bytes) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "10")
        self.end_headers()
        self.wfile.write(data)
