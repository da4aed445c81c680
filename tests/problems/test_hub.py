"""Files from the Hugging Face hub, by the library's own client, against a stand-in on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

FILE = "/datasets/CardinalOperations/NL4OPT/resolve/main/NL4OPT_with_optimal_solution.json"
ROWS = "".join(
    json.dumps({"en_question": f"Problem {label}?", "en_answer": label}) + "\n"
    for label in ("12.0", "-99999", "No Best Solution")
).encode()


class Hub(BaseHTTPRequestHandler):
    """Answers for one file as the hub does, and for nothing else."""

    def do_HEAD(self) -> None:
        """Tells what the file is."""
        known = self.path == FILE
        self.send_response(200 if known else 404)
        if known:
            self.send_header("ETag", f'"{hashlib.sha1(ROWS, usedforsecurity=False).hexdigest()}"')
            self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("Content-Length", str(len(ROWS) if known else 0))
        self.end_headers()

    def do_GET(self) -> None:
        """Sends the file."""
        self.do_HEAD()
        if self.path == FILE:
            self.wfile.write(ROWS)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def calm(home: Path, endpoint: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CALM_"))}
    environment = {**known, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1", **more}
    return subprocess.run(
        [Path(sys.executable).with_name("calm"), *words], capture_output=True, text=True, env=environment, check=False
    )


def test_a_version_is_fetched_once_read_by_its_rules_and_counted(hub: str, tmp_path: Path) -> None:
    done = calm(tmp_path, hub, "problems", "check", "nl4opt/hf2024", "--download", "--json")
    result = json.loads(done.stdout)
    counts = {status: count for status, count in result["statuses"].items() if count}
    assert counts == {"optimal": 1, "sentinel": 1, "no_optimum": 1}
    assert (
        "nl4opt/hf2024: 1 labels are optimal, published are 223" in result["problems"]
    )  # what the hub holds may change
    assert done.returncode == 1
    again = calm(tmp_path, hub, "problems", "list", "nl4opt/hf2024", "--download", "--json", HF_HUB_OFFLINE="1")
    assert [row["label"] for row in json.loads(again.stdout)["problems"]] == [12.0, "sentinel", "no_optimum"]


def test_a_hub_that_lacks_the_file_is_told_of_in_one_line(hub: str, tmp_path: Path) -> None:
    done = calm(tmp_path, hub, "problems", "check", "industryor/or-llm-agent", "--download")
    assert done.returncode == 1
    assert "could not be fetched from the hub" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "put it under the folder of benchmark data" in done.stderr
