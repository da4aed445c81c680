"""A chat completions endpoint on loopback that gives canned replies, for tests."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer(ThreadingHTTPServer):
    """Answers request after request: a text is a reply, a number an HTTP status, `slow` a reply that never comes,
    `cut` a broken connection, `odd` a reply that is no chat completion."""

    daemon_threads = True

    def __init__(self, replies: Sequence[str | int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = list(replies)
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
            reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        if reply == "slow":
            time.sleep(3)
            return
        if reply == "cut":
            return
        if isinstance(reply, int):
            self._answer(reply, {"error": {"message": f"trouble with {self.headers['Authorization']}"}})
            return
        message = {"role": "assistant", "content": reply}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        choices = [] if reply == "odd" else [choice]
        self._answer(200, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices})

    def _answer(self, status: int, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "10")
        self.end_headers()
        self.wfile.write(data)
