"""Serves the report of one run to a browser on this machine. Reads only.

What it protects from: other web pages (no cross-origin access is granted, and a request whose Host is not this server's
is refused, which stops DNS rebinding), path traversal (the routes are fixed, and the one file name in them is made of
letters, digits and hyphens), slow and malformed clients. What it does not: it has no login, so whoever can open a
connection can read the run. It therefore binds to the loopback interface unless told otherwise.

    /                                   report.html, rendered anew when the run has none yet
    /report_files/problems/NAME.html    the pages it leads to, as `calm report` wrote them
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from calmstorm.errors import CalmstormError, InputError
from calmstorm.report import FILES, Content, read_run, render_html
from calmstorm.runs import RunDirectory

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
}
"""A page carries a stricter content policy of its own, with the hashes of its scripts; a browser enforces both."""
_PROBLEM_PAGE = re.compile(rf"/{FILES}/problems/([a-z0-9-]+\.html)")


class StudioServer(ThreadingHTTPServer):
    """An HTTP server for one run. Threads end with the process; use as a context manager."""

    daemon_threads = True

    def __init__(self, run_path: Path, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Binds, but does not serve yet: call `serve_forever`.

        Args:
            run_path: The run directory.
            host: Address or name to bind to; anything but loopback lets others read the run.
            port: 0 takes a free one, see `url`.

        Raises:
            InputError: No such run, or the address cannot be bound.
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

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Says nothing of a browser that left before its page was sent."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

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
    """Answers GET and HEAD."""

    protocol_version = "HTTP/1.1"
    server_version = "calmstorm"
    sys_version = ""
    timeout = 30
    server: StudioServer

    def do_GET(self) -> None:
        """Answers a request."""
        if not self.server.is_own_host(self.headers.get("Host")):
            self._refuse(HTTPStatus.FORBIDDEN, "this Host is not served here")
            return
        try:
            page = self._page(self.path.partition("?")[0])
        except CalmstormError as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            return
        if page is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no such page; the report is at /")
        else:
            self._send(page, "text/html")

    do_HEAD = do_GET

    def _page(self, path: str) -> bytes | None:
        run_path = self.server.run.path
        if (problem := _PROBLEM_PAGE.fullmatch(path)) is not None:
            page = run_path / FILES / "problems" / problem[1]
            return page.read_bytes() if page.is_file() else None
        if path != "/":
            return None
        report = run_path / "report.html"
        return report.read_bytes() if report.is_file() else render_html(Content([read_run(run_path)])).encode()

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self._send(f"{reason}\n".encode(), "text/plain", status)

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        with contextlib.suppress(ConnectionError):  # the reader may leave before it has everything
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
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


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
