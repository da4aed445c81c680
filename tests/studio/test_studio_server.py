from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from calmstorm.errors import InputError
from calmstorm.records import Author, Problem, Span, SpanKind, StopReason, Trajectory
from calmstorm.report import write_reports
from calmstorm.studio import StudioServer

ROUTES = ["/", "/report_files/problems/p0.html"]


def made(stage: str, number: int) -> Trajectory:
    return Trajectory(
        problem_id=f"p{number % 3}",
        sample=number,
        stage=stage,
        suite="easy",
        spans=(Span(author=Author.REASONER, kind=SpanKind.TEXT, text="<script>alert(1)</script>"),),
        stop_reason=StopReason.FINISHED,
    )


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    problems = [Problem(id=f"p{number}", question="How many?") for number in range(3)]
    (root / "problems.jsonl").write_text(
        "".join(problem.model_dump_json() + "\n" for problem in problems), encoding="utf-8"
    )
    trajectories = [made("base", number) for number in range(7)] + [made("rl", number) for number in range(2)]
    lines = "".join(trajectory.to_json() + "\n" for trajectory in trajectories)
    (root / "trajectories.jsonl").write_text(lines, encoding="utf-8")
    (root / "config.toml").write_text("seed = 1\n", encoding="utf-8")
    return root


@pytest.fixture
def server(run_path: Path) -> Iterator[StudioServer]:
    with StudioServer(run_path) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(
    server: StudioServer, path: str, *, method: str = "GET", host: str | None = None
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", f"127.0.0.1:{server.port}" if host is None else host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    headers = {name.lower(): value for name, value in answer.getheaders()}
    connection.close()
    return answer.status, headers, body


def test_report_is_served_as_written(server: StudioServer, run_path: Path) -> None:
    write_reports([run_path], run_path)
    status, headers, body = ask(server, "/")
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert body == (run_path / "report.html").read_bytes()


def test_report_is_rendered_when_the_run_has_none_and_nothing_is_written(server: StudioServer, run_path: Path) -> None:
    status, _, body = ask(server, "/")
    assert status == 200
    assert b"This run is not complete" in body
    assert not (run_path / "report.html").exists()


def test_pages_of_problems_are_served_as_written_and_nothing_else_beside_them(
    server: StudioServer, run_path: Path
) -> None:
    write_reports([run_path], run_path)
    pages = sorted((run_path / "report_files" / "problems").glob("*.html"))
    assert len(pages) == 3
    status, headers, body = ask(server, f"/report_files/problems/{pages[0].name}")
    assert (status, body) == (200, pages[0].read_bytes())
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    (run_path / "report_files" / "problems" / "other.txt").write_text("x")
    for path in ("no-such.html", "other.txt", "../../config.toml", "..%2f..%2fconfig.toml", "A.html", ""):
        assert ask(server, f"/report_files/problems/{path}")[0] == 404


@pytest.mark.parametrize("path", [*ROUTES, "/nothing", "/?query"])
def test_every_answer_carries_the_safe_headers(server: StudioServer, path: str) -> None:
    _, headers, _ = ask(server, path)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//etc/passwd",
        "/config.toml",
        "/report_files/../config.toml",
    ],
)
def test_no_path_reaches_a_file(server: StudioServer, path: str) -> None:
    status, headers, body = ask(server, path)
    assert status == 404
    assert headers["content-type"].startswith("text/plain")
    assert b"secret" not in body.replace(path.encode(), b"")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "", "localhost.evil:{port}", "["]
)
def test_foreign_host_is_refused(server: StudioServer, host: str) -> None:
    for route in ROUTES:
        status, _, body = ask(server, route, host=host.format(port=server.port))
        assert status == 403
        assert b"script" not in body


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "LOCALHOST:{port}"])
def test_own_host_is_served(server: StudioServer, host: str) -> None:
    assert ask(server, "/", host=host.format(port=server.port))[0] == 200


def test_head_sends_headers_only_and_other_methods_are_refused(server: StudioServer) -> None:
    status, headers, body = ask(server, "/", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 100
    for method in ("POST", "PUT", "DELETE"):
        assert ask(server, "/", method=method)[0] == 501


def test_damaged_run_is_an_error_of_the_server_in_one_line(server: StudioServer, run_path: Path) -> None:
    (run_path / "trajectories.jsonl").write_text("{}\n", encoding="utf-8")
    status, _, body = ask(server, "/")
    assert status == 500
    assert b"line 1" in body
    assert body.count(b"\n") == 1


def test_garbage_does_not_stop_the_server(server: StudioServer) -> None:
    for garbage in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nHost", b""):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(garbage)
    assert ask(server, "/")[0] == 200


def test_several_readers_are_served_at_once(server: StudioServer) -> None:
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(server, "/")[0])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 8


def test_open_server_serves_addresses_but_no_foreign_name(run_path: Path) -> None:
    with StudioServer(run_path, host="0.0.0.0") as open_server:  # noqa: S104
        assert open_server.url == f"http://127.0.0.1:{open_server.port}/"
        assert open_server.is_own_host(f"192.0.2.7:{open_server.port}")
        assert not open_server.is_own_host(f"evil.example:{open_server.port}")
    with StudioServer(run_path) as closed_server:
        assert not closed_server.is_own_host(f"192.0.2.7:{closed_server.port}")


def test_taken_port_and_missing_run_are_refused_in_one_line(server: StudioServer, run_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be bound"):
        StudioServer(run_path, port=server.port)
    with pytest.raises(InputError, match="no-run"):
        StudioServer(run_path.parent / "no-run")


def test_command_prints_its_address_and_ends_cleanly_on_interrupt(run_path: Path) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "calmstorm.cli", "studio", str(run_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    port = int(url.rstrip("/").rsplit(":", 1)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    connection.close()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize(("error", "printed"), [(BrokenPipeError(32, "Broken pipe"), ""), (ValueError("ours"), "ours")])
def test_only_a_browser_that_left_is_passed_over(
    server: StudioServer, capsys: pytest.CaptureFixture[str], error: Exception, printed: str
) -> None:
    try:
        raise error
    except type(error):
        server.handle_error(None, ("127.0.0.1", 1))
    errors = capsys.readouterr().err
    assert printed in errors
    assert bool(errors) == bool(printed)
