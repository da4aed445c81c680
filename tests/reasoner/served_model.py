"""A server process for tests: `served_model.py PORT MODEL [fail]`; ends with SIGTERM."""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"data": [{"id": sys.argv[2], "max_model_len": 99}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    secret = any("sk-test" in value for value in os.environ.values())
    print("gpu", os.environ.get("CUDA_VISIBLE_DEVICES", "-"), "pid", os.getpid(), "key", secret, flush=True)
    if sys.argv[3:] == ["fail"]:
        sys.exit("RuntimeError: no kernel image\n")
    HTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
