"""The slots that scripts run in, by import level: sockets to supervisor processes, made as they are needed."""

from __future__ import annotations

import contextlib
import queue
import re
import select
import socket
import threading
from collections.abc import Iterator

from calmstorm.errors import InfrastructureError
from calmstorm.interpreter.parent_client import ParentClient
from calmstorm.interpreter.sandbox import wire

_IMPORTS = re.compile(
    rb"^[ \t]*(?:from[ \t]+([\w.]+)|import[ \t]+([^\n;#]+))|;[ \t]*import[ \t]+([^\n;#]+)", re.MULTILINE
)
_GRACE_SECONDS = 15.0
"""How much longer than its wall limit an execution may take to answer before its supervisor is given up."""


class SlotLostError(Exception):
    """The supervisor died, hung or could not be started; the slot starts another one when it is next used."""


class Slot:
    """One place where a script can run. Used by one thread at a time; `abandon` and `close` by any."""

    def __init__(self, parents: ParentClient, level: int) -> None:
        self._parents = parents
        self._level = level
        self._lock = threading.Lock()
        self._closed = False
        self._in_use = False
        self._channel: socket.socket | None = None
        self._greeted = False
        self._request: threading.Event | None = None
        self._open()

    def greet(self) -> None:
        """Waits until the supervisor is ready.

        Raises:
            SlotLostError: It could not be started.
        """
        channel = self._channel or self._open()
        if not self._greeted:
            with self._lost_on_error(channel):
                header, _ = wire.receive(channel, _GRACE_SECONDS)
                if not header.get("ready"):
                    raise SlotLostError(header.get("reason", "the supervisor sent something else than a greeting"))
            self._greeted = True

    def renew(self) -> None:
        """Starts over with another supervisor.

        Raises:
            SlotLostError: None could be started.
        """
        with self._using():
            self._lose()
            self.greet()

    def execute(
        self, header: wire.Header, code: bytes, wall_seconds: float, request: threading.Event
    ) -> tuple[wire.Header, list[bytes]]:
        """Runs one script and returns the supervisor's answer.

        Raises:
            SlotLostError: No answer came.
        """
        with self._using():
            if self._channel is not None and self._is_dead(self._channel):
                self._lose()
            channel = self._channel or self._open()
            try:
                with self._lost_on_error(channel):
                    self.greet()
                    self._request = request
                    if request.is_set():
                        raise SlotLostError("cancelled")
                    wire.send(channel, header, code)
                    answer, blobs = wire.receive(channel, wall_seconds + _GRACE_SECONDS)
                    if answer["id"] != header["id"]:
                        raise SlotLostError("the supervisor answered another request")
                    return answer, blobs
            finally:
                self._request = None

    def abandon(self, request: threading.Event) -> None:
        """Kills the script that runs for `request`, if it runs here."""
        if self._request is request:
            self._hang_up()

    def close(self) -> None:
        """Ends the supervisor for good; where a script runs, whoever waits for it gives the socket back."""
        with self._lock:
            self._closed = True
            idle = not self._in_use
        self._hang_up()
        if idle:
            self._lose()

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """Keeps `close` from taking the socket away under a thread that reads from it."""
        with self._lock:
            self._in_use = True
        try:
            yield
        finally:
            with self._lock:
                self._in_use = False
                closed = self._closed
            if closed:
                self._lose()

    def _open(self) -> socket.socket:
        if self._closed:
            raise SlotLostError("the interpreter was closed")
        mine, theirs = socket.socketpair()
        with theirs:
            try:
                self._parents.spawn(theirs, self._level)
            except BaseException as error:
                mine.close()
                if isinstance(error, InfrastructureError):
                    raise SlotLostError(str(error)) from error
                raise
        with self._lock:
            self._channel, self._greeted = mine, False
        return mine

    @contextlib.contextmanager
    def _lost_on_error(self, channel: socket.socket) -> Iterator[None]:
        """Gives the supervisor up on any error: after half an answer, what follows on the socket has no reader."""
        try:
            yield
        except BaseException as error:
            seconds = channel.gettimeout()
            self._lose()
            if isinstance(error, wire.ChannelClosedError):
                raise SlotLostError("the supervisor died") from error
            if isinstance(error, TimeoutError):
                raise SlotLostError(f"the supervisor did not answer within {seconds:g} s") from error
            raise

    def _is_dead(self, channel: socket.socket) -> bool:
        """Whether the socket shows anything while no request is under way, apart from a first greeting."""
        if not select.select([channel], [], [], 0)[0]:
            return False
        return self._greeted or not channel.recv(1, socket.MSG_PEEK)

    def _hang_up(self) -> None:
        with self._lock:
            if self._channel is not None:
                with contextlib.suppress(OSError):
                    self._channel.shutdown(socket.SHUT_RDWR)

    def _lose(self) -> None:
        """Gives the supervisor up; closing the socket makes a live one kill its script and leave."""
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()


class Pool:
    """The slots of an interpreter. Methods may be called from any thread.

    Args:
        parents: The warm parents.
        size: Largest number of slots of each level.
    """

    def __init__(self, parents: ParentClient, size: int) -> None:
        self._parents = parents
        self._size = size
        self._lock = threading.Lock()
        self._made = [0] * len(parents.modules)
        self._idle: list[queue.SimpleQueue[Slot]] = [queue.SimpleQueue() for _ in parents.modules]
        self.slots: list[Slot] = []

    def open(self) -> None:
        """Makes the first slot of each level, ready to run.

        Raises:
            SlotLostError: One could not be started.
        """
        for level in range(len(self._idle)):
            with self.slot(level):
                pass  # all start at the same time
        for slot in self.slots:
            slot.greet()

    @contextlib.contextmanager
    def slot(self, level: int) -> Iterator[Slot]:
        """Lends the caller a slot, the one that has been idle longest; waits for one if it must.

        Raises:
            SlotLostError: A new one was needed and could not be started.
        """
        try:
            slot = self._idle[level].get_nowait()
        except queue.Empty:
            slot = self._make(level) or self._idle[level].get()
        try:
            yield slot
        finally:
            self._idle[level].put(slot)

    def level_for(self, code: bytes) -> int:
        """The first level that has all preloaded libraries that a script names; a wrong guess costs it an import."""
        levels = self._parents.modules
        preloaded = named_imports(code) & levels[-1]
        return next((level for level, modules in enumerate(levels) if preloaded <= modules), len(levels) - 1)

    def _make(self, level: int) -> Slot | None:
        """Returns another slot, or None where there are enough."""
        with self._lock:
            if self._made[level] == self._size:
                return None
            self._made[level] += 1
        try:
            slot = Slot(self._parents, level)
        except BaseException:
            with self._lock:
                self._made[level] -= 1  # else callers would wait for a slot that does not exist
            raise
        self.slots.append(slot)
        return slot


def named_imports(code: bytes) -> frozenset[bytes]:
    """Top-level modules that the text seems to import."""
    lists = (listed for groups in _IMPORTS.findall(code) for listed in groups)
    return frozenset(
        name.strip().partition(b" ")[0].partition(b".")[0] for listed in lists for name in listed.split(b",")
    )
