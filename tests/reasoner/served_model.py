"""A server process for tests: `served_model.py PORT MODEL [fail]`; ends with SIGTERM. Standard library only.

It completes everything with one token, and takes weights as vLLM does.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CHOICE = {"index": 0, "text": "a", "token_ids": [64], "finish_reason": "length", "stop_reason": None}
_COMPLETION = {"id": "1", "object": "text_completion", "model": sys.argv[-1]}
_COMPLETION["choices"] = [_CHOICE | {"logprobs": {"token_logprobs": [-0.5]}}]  # type: ignore[assignment]
_held = {"weight_version": "default"}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._say({"data": [{"id": sys.argv[2], "max_model_len": 99}], "vllm_config": {}, **_held})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        _held["weight_version"] = body.get("new_version", _held["weight_version"])
        self._say(_COMPLETION if self.path == "/v1/completions" else {})

    def _say(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    secret = any("sk-test" in value for value in os.environ.values())
    print("gpu", os.environ.get("CUDA_VISIBLE_DEVICES", "-"), "pid", os.getpid(), "key", secret, flush=True)
    if sys.argv[3:] == ["fail"]:
        sys.exit("RuntimeError: no kernel image\n")
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
