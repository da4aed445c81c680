"""Replies of reviewing models, kept by content: what was asked once, and answered well, is not paid for again.

A SQLite file, so that a run of 100,000 reviews needs no memory for them; several processes may share it. It holds what
models said, whether it could be used, and what it cost, never a key. Replies that could not be used are kept for those
who want to know why, and are not given again.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from calmstorm.errors import WorkError
from calmstorm.records import Usage

_SCHEMA = """
CREATE TABLE IF NOT EXISTS replies (
    key TEXT NOT NULL, attempt INTEGER NOT NULL, model TEXT NOT NULL, prompt TEXT NOT NULL, about TEXT NOT NULL,
    reply TEXT NOT NULL, problem TEXT NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL, reused INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS replies_by_key ON replies (key);
"""
_BUSY_SECONDS = 30.0


def request_key(*parts: object) -> str:
    """Returns what identifies a request by its content: equal contents, equal keys."""
    text = json.dumps(parts, ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Replies:
    """The file of replies. Opened at the first use, and written at once: what was put survives a kill."""

    def __init__(self, path: Path) -> None:
        """Takes the path; its folder is created when something is kept."""
        self._path = path
        self._opened: sqlite3.Connection | None = None

    def usable(self, key: str) -> str | None:
        """Returns the reply to a request that could be used; None when there is none.

        Raises:
            WorkError: The file cannot be read.
        """
        if self._opened is None and not self._path.exists():
            return None
        rows = self._execute("SELECT rowid, reply FROM replies WHERE key = ? AND problem = '' LIMIT 1", (key,))
        if not rows:
            return None
        rowid, reply = rows[0]
        self._execute("UPDATE replies SET reused = reused + 1 WHERE rowid = ?", (rowid,))
        return str(reply)

    def keep(
        self, key: str, attempt: int, *, model: str, prompt: str, about: str, reply: str, problem: str, usage: Usage
    ) -> None:
        """Keeps a reply.

        Args:
            key: Of the first request of the review, see `request_key`.
            attempt: How often was asked, from 1.
            model: Who said it.
            prompt: Version of the prompt.
            about: What was reviewed, for those who look a reply up.
            reply: What the model said.
            problem: Why the reply cannot be used; empty where it can.
            usage: Of this request.

        Raises:
            WorkError: The file cannot be written.
        """
        spent = (usage.prompt_tokens, usage.completion_tokens, usage.seconds)
        self._execute(
            "INSERT INTO replies (key, attempt, model, prompt, about, reply, problem, prompt_tokens, completion_tokens,"
            " seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key, attempt, model, prompt, about, reply, problem, *spent),
        )

    def close(self) -> None:
        """Closes the file; it is opened again when it is used again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def _execute(self, statement: str, values: Sequence[object]) -> list[tuple[object, ...]]:
        try:
            return self._connection().execute(statement, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise WorkError(
                f"{self._path}: {error}; free or repair the disk, or move the file away: it only saves requests"
            ) from None

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._opened = sqlite3.connect(
                self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._opened.execute("PRAGMA journal_mode = WAL")
            self._opened.execute("PRAGMA synchronous = NORMAL")
            self._opened.executescript(_SCHEMA)
        return self._opened
