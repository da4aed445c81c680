"""A stand-in of the Hugging Face hub's API for models: repositories, branches, trees, large files, commits."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

WRITER, READER = "hf_writer", "hf_reader"
"""Tokens: one may write to `you/*`, the other only read."""
LARGE = 4096
"""Bytes from which a file goes by content and not within the commit; safetensors always do."""


@dataclass
class Repository:
    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    commits: list[list[str]] = field(default_factory=list)
    """Paths that each commit changed."""


@dataclass
class Hub:
    """What the stand-in holds, and how it misbehaves."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    transfers: list[str] = field(default_factory=list)
    """Digests of content that was sent."""
    failing: dict[str, list[int]] = field(default_factory=dict)
    """Statuses that the next requests get whose path holds the word."""

    def files(self, name: str, branch: str = "main") -> dict[str, bytes]:
        return self.repositories[name].branches[branch]


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def is_large(name: str, size: int) -> bool:
    return size >= LARGE or name.endswith(".safetensors")


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Starts the stand-in in a thread; end it with `shutdown` and `server_close`."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None: ...

        def reply(self, status: int, body: Any = None, **headers: str) -> None:
            data = json.dumps(body).encode() if body is not None else b""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def content(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def answer(self) -> None:
            path, body = unquote(urlsplit(self.path).path), self.content()
            for word, statuses in hub.failing.items():
                if word in path and statuses:
                    self.reply(statuses.pop(0), {"error": "as told"})
                    return
            if self.command == "PUT":
                hub.blobs[hashlib.sha256(body).hexdigest()] = body
                hub.transfers.append(hashlib.sha256(body).hexdigest())
                self.reply(200)
                return
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            if token not in (WRITER, READER):
                self.reply(401, {"error": "Invalid username or password."})
            elif self.command == "POST" and token == READER and path != "/api/validate-yaml":
                self.reply(403, {"error": "You don't have the rights"})
            elif self.command == "POST":
                self.post(path, body)
            else:
                self.get(path)

        do_GET = do_POST = do_PUT = answer

        def get(self, path: str) -> None:
            owner, name, *rest = path.removeprefix("/api/models/").split("/")
            repository = hub.repositories.get(f"{owner}/{name}")
            if repository is None:
                self.reply(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            elif rest[:1] == ["tree"]:
                self.reply(200, [entry(*item) for item in repository.branches["/".join(rest[1:])].items()])
            else:
                self.reply(
                    200, {"id": f"{owner}/{name}", "private": repository.private, "siblings": [], "sha": "0" * 40}
                )

        def post(self, path: str, body: bytes) -> None:
            if path == "/api/validate-yaml":
                self.reply(200, {"errors": [], "warnings": []})
            elif path == "/api/repos/create":
                self.create(json.loads(body))
            elif path.endswith("/info/lfs/objects/batch"):
                objects = json.loads(body)["objects"]
                self.reply(200, {"transfer": "basic", "objects": [offer(one["oid"], one["size"]) for one in objects]})
            else:
                owner, name, what, *rest = path.removeprefix("/api/models/").split("/")
                self.change(hub.repositories[f"{owner}/{name}"], what, "/".join(rest), body)

        def create(self, asked: dict[str, Any]) -> None:
            name = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] != "you":
                self.reply(403, {"error": "You don't have the rights to create a model under this namespace"})
            elif name in hub.repositories:
                self.reply(409, {"error": "You already created this model repo", "url": f"{hub.url}/{name}"})
            else:
                hub.repositories[name] = Repository(asked["visibility"] == "private")
                self.reply(200, {"url": f"{hub.url}/{name}", "name": name})

        def change(self, repository: Repository, what: str, branch: str, body: bytes) -> None:
            if what == "branch":
                if branch in repository.branches:
                    self.reply(409, {"error": "Reference already exists"})
                    return
                repository.branches[branch] = dict(repository.branches["main"])
                self.reply(200, {})
                return
            files = repository.branches[branch]
            if what == "preupload":
                asked = json.loads(body)["files"]
                self.reply(200, {"files": [mode(one, files.get(one["path"])) for one in asked]})
                return
            changed = []
            for line in body.splitlines():
                key, value = (part := json.loads(line))["key"], part["value"]
                if key == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif key == "lfsFile":
                    files[value["path"]] = hub.blobs[value["oid"]]
                elif key == "deletedFile":
                    del files[value["path"]]
                changed += [value["path"]] if key != "header" else []
            repository.commits.append(changed)
            oid = f"{len(repository.commits):040x}"
            self.reply(200, {"success": True, "commitOid": oid, "commitUrl": f"{hub.url}/you/tiny/commit/{oid}"})

    def entry(name: str, content: bytes) -> dict[str, Any]:
        digest = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        large = {"lfs": digest} if is_large(name, len(content)) else {}
        return {"type": "file", "path": name, "oid": git_oid(content), "size": len(content), **large}

    def offer(oid: str, size: int) -> dict[str, Any]:
        known = {} if oid in hub.blobs else {"actions": {"upload": {"href": f"{hub.url}/content/{oid}"}}}
        return {"oid": oid, "size": size, **known}

    def mode(asked: dict[str, Any], there: bytes | None) -> dict[str, Any]:
        large = is_large(asked["path"], asked["size"])
        digest = hashlib.sha256(there or b"").hexdigest() if large else git_oid(there or b"")
        oid = {} if there is None else {"oid": digest}
        return {"path": asked["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **oid}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
