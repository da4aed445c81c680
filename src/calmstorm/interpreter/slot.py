"""The host's end of one slot: a supervisor process and the socket to it."""

from __future__ import annotations

import contextlib
import select
import socket
import threading

from calmstorm.errors import InfrastructureError
from calmstorm.interpreter.warm import WarmParent
from calmstorm.interpreter.worker import wire

_GRACE_SECONDS = 15.0
"""How much longer than its wall limit an execution may take to answer before its supervisor is given up."""


class SlotLostError(Exception):
    """The supervisor died, hung or could not be started; the slot starts another one when it is next used."""


class Slot:
    """One place where a script can run. Used by one thread at a time; `abandon` and `close` by any."""

    def __init__(self, warm: WarmParent, level: int) -> None:
        self._warm = warm
        self._level = level
        self._lock = threading.Lock()
        self._closed = False
        self._pid = 0
        self._channel: socket.socket | None = None
        self._greeted = False
        self._request: threading.Event | None = None
        self._open()

    def greet(self) -> None:
        """Waits until the supervisor is ready.

        Raises:
            SlotLostError: It could not be started.
        """
        if self._channel is None:
            self._open()
        if not self._greeted:
            header, _ = self._receive(_GRACE_SECONDS)
            if not header.get("ready"):
                self._lose()
                raise SlotLostError(header.get("reason", "the supervisor sent something else than a greeting"))
            self._greeted = True

    def renew(self) -> None:
        """Starts over with another supervisor.

        Raises:
            SlotLostError: None could be started.
        """
        self._lose()
        self.greet()

    def execute(
        self, header: wire.Header, code: bytes, wall_seconds: float, request: threading.Event
    ) -> tuple[wire.Header, list[bytes]]:
        """Runs one script and returns the supervisor's answer.

        Raises:
            SlotLostError: No answer came.
        """
        if self._channel is not None and self._is_dead():
            self._lose()
        try:
            self.greet()
            self._request = request
            if request.is_set():
                raise SlotLostError("cancelled")
            assert self._channel is not None  # noqa: S101
            wire.send(self._channel, header, code)
            answer, blobs = self._receive(wall_seconds + _GRACE_SECONDS)
        except wire.ChannelClosedError as error:
            self._lose()
            raise SlotLostError("the supervisor died") from error
        except BaseException:
            self._lose()  # Ctrl-C in the middle of an answer: what follows on the socket is nobody's
            raise
        finally:
            self._request = None
        if answer["id"] != header["id"]:
            self._lose()
            raise SlotLostError("the supervisor answered another request")
        return answer, blobs

    def abandon(self, request: threading.Event) -> None:
        """Kills the script that runs for `request`, if it runs here."""
        if self._request is request:
            self._hang_up()

    def close(self) -> None:
        """Ends the supervisor for good."""
        self._closed = True
        self._hang_up()

    def _open(self) -> None:
        if self._closed:
            raise SlotLostError("the interpreter was closed")
        mine, theirs = socket.socketpair()
        with theirs:
            try:
                self._pid = self._warm.spawn(theirs, self._level)
            except InfrastructureError as error:
                mine.close()
                raise SlotLostError(str(error)) from error
            except BaseException:
                mine.close()
                raise
        with self._lock:
            self._channel, self._greeted = mine, False

    def _receive(self, seconds: float) -> tuple[wire.Header, list[bytes]]:
        assert self._channel is not None  # noqa: S101
        self._channel.settimeout(seconds)
        try:
            return wire.receive(self._channel)
        except wire.ChannelClosedError as error:
            self._lose()
            raise SlotLostError("the supervisor died") from error
        except TimeoutError as error:
            self._lose()
            raise SlotLostError(f"the supervisor did not answer within {seconds:g} s") from error

    def _is_dead(self) -> bool:
        """Whether the socket shows anything while no request is under way, apart from a first greeting."""
        assert self._channel is not None  # noqa: S101
        if not select.select([self._channel], [], [], 0)[0]:
            return False
        return self._greeted or not self._channel.recv(1, socket.MSG_PEEK)

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
