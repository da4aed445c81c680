"""Serves one run to a browser on this machine: its report, and its trajectories as JSON. Reads only.

What it protects from: other web pages (no cross-origin access is granted, and a request whose Host is not this server's
is refused, which stops DNS rebinding), path traversal (the routes are fixed, and the one file name in them is made of
letters, digits and hyphens), slow and malformed clients. What it does not: it has no login, so whoever can open a
connection can read the run. It therefore binds to the loopback interface unless told otherwise.

    /                     report.html, rendered anew when the run has none yet
    /report_files/problems/NAME.html    the pages it leads to, as `calm report` wrote them
    /api/report           report.json
    /api/problems         {items: [Problem], next}
    /api/trajectories     {items: [Trajectory], next}; filters: stage, problem_id

Lists take `offset` and `limit`; `next` is the offset of the next page, or null.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
import socket
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from calmstorm.errors import CalmstormError, InputError
from calmstorm.records import Problem, Trajectory
from calmstorm.report import FILES, build_report, read_run, render_html
from calmstorm.runs import RunDirectory

PAGE_LIMIT = 200
"""Most records a list route returns at once."""

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
JSON_POLICY = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = "frame-ancestors 'none'"
"""The page itself carries a stricter policy, with the hashes of its scripts; a browser enforces both."""


_PROBLEM_PAGE = re.compile(rf"/{FILES}/problems/([a-z0-9-]+\.html)")


class StudioServer(ThreadingHTTPServer):
    """An HTTP server for one run. Threads end with the process; use as a context manager."""

    daemon_threads = True

    def __init__(self, run_path: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Binds, but does not serve yet: call `serve_forever`.

        Args:
            run_path: the run directory.
            host: address or name to bind to; anything but loopback lets others read the run.
            port: 0 takes a free one, see `url`.

        Raises:
            InputError: no such run, or the address cannot be bound.
        """
        self.run = RunDirectory(run_path, readonly=True)
        self.host = host
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), StudioHandler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"{host}:{port} cannot be bound ({reason}): choose another --port, or 0 for a free one"
            ) from None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def is_own_host(self, header: str | None) -> bool:
        """Whether a Host header names this server: loopback or the name it was bound to; a bare address if it is open.

        A page that rebinds its own domain name to this address sends that name, and is refused.
        """
        try:
            parts = urlsplit(f"//{header or ''}")
            name, port = parts.hostname or "", parts.port or 80
        except ValueError:
            return False
        if port != self.port or parts.username is not None or parts.path or parts.query or parts.fragment:
            return False
        if name == self.host.lower() or name == "localhost":
            return True
        address = _address(name)
        bound = _address(self.host)
        return address is not None and (address.is_loopback or bound is None or not bound.is_loopback)


class StudioHandler(BaseHTTPRequestHandler):
    """Answers GET and HEAD on the routes."""

    protocol_version = "HTTP/1.1"
    server_version = "calmstorm"
    sys_version = ""
    timeout = 30
    server: StudioServer

    routes: ClassVar[dict[str, str]] = {
        "/": "page",
        "/api/report": "report",
        "/api/problems": "problems",
        "/api/trajectories": "trajectories",
    }

    def do_GET(self) -> None:
        """Answers a request."""
        if not self.server.is_own_host(self.headers.get("Host")):
            self._send_json({"error": "this Host is not served here"}, HTTPStatus.FORBIDDEN)
            return
        parts = urlsplit(self.path)
        route = self.routes.get(parts.path)
        written = _PROBLEM_PAGE.fullmatch(parts.path)
        page = self.server.run.path / FILES / "problems" / written[1] if written else None
        if page is not None and page.is_file():
            self._send(page.read_bytes(), "text/html; charset=utf-8", PAGE_POLICY)
            return
        if route is None:
            self._send_json({"error": f"no such page; there are {', '.join(self.routes)}"}, HTTPStatus.NOT_FOUND)
            return
        try:
            query = _query(parts.query)
            if route == "page":
                self._send(self._page(), "text/html; charset=utf-8", PAGE_POLICY)
            else:
                self._send_json(self._data(route, query))
        except InputError as error:
            self._send_json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except CalmstormError as error:
            self._send_json({"error": str(error)}, HTTPStatus.INTERNAL_SERVER_ERROR)

    do_HEAD = do_GET

    def _page(self) -> bytes:
        written = self.server.run.path / "report.html"
        if written.is_file():
            return written.read_bytes()
        return render_html([read_run(self.server.run.path)]).encode()

    def _data(self, route: str, query: dict[str, str]) -> dict[str, Any]:
        run = self.server.run
        if route == "report":
            return build_report(run.path)
        if route == "problems":
            return _listing((each.model_dump(mode="json") for each in run.read("problems", Problem)), query)
        chosen: Iterable[Trajectory] = (
            each
            for each in run.trajectories(query.get("stage"))
            if query.get("problem_id", each.problem_id) == each.problem_id
        )
        return _listing((each.model_dump(mode="json", by_alias=True) for each in chosen), query)

    def _send_json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        body = json.dumps(value, ensure_ascii=True).encode()
        self._send(body, "application/json; charset=utf-8", JSON_POLICY, status)

    def _send(self, body: bytes, kind: str, policy: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        with contextlib.suppress(ConnectionError):  # the reader may leave before it has everything
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def end_headers(self) -> None:
        """Adds the headers that every answer carries, errors included."""
        for name, value in SAFE_HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: requests are the reader's business."""


def _listing(items: Iterable[dict[str, Any]], query: dict[str, str]) -> dict[str, Any]:
    offset, limit = _whole(query, "offset", 0), min(_whole(query, "limit", 50), PAGE_LIMIT)
    page = list(islice(items, offset, offset + limit + 1))
    return {"items": page[:limit], "next": offset + limit if len(page) > limit else None}


def _query(text: str) -> dict[str, str]:
    try:
        return {name: values[-1] for name, values in parse_qs(text, max_num_fields=20).items()}
    except ValueError:
        raise InputError("the query has more than 20 fields: use stage, problem_id, offset, limit") from None


def _whole(query: dict[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InputError(f"{name} is {text[:40]!r}; it must be a whole number >= 0")
    return int(text)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
