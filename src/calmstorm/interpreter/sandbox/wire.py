"""Frames on the sockets between host, supervisor and script.

A frame is a 4-byte length, a JSON header of that length, and the blobs whose sizes the header names. Only our own code
sends frames: a script never writes to these sockets before its job has been read, and nothing it writes is parsed.
"""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Iterable
from typing import Any

Header = dict[str, Any]

_LENGTH = struct.Struct("<I")


class ChannelClosedError(Exception):
    """The other end is gone."""


def send(channel: socket.socket, header: Header, *blobs: bytes) -> None:
    """Sends one frame.

    Raises:
        ChannelClosedError: The other end is gone.
    """
    text = json.dumps({**header, "blobs": [len(blob) for blob in blobs]}).encode()
    try:
        channel.sendall(b"".join((_LENGTH.pack(len(text)), text, *blobs)))
    except (BrokenPipeError, ConnectionResetError) as error:
        raise ChannelClosedError from error


def receive(channel: socket.socket, seconds: float | None = None) -> tuple[Header, list[bytes]]:
    """Waits for one frame and returns its header and blobs.

    Args:
        channel: The socket.
        seconds: How long the other end may stay silent; None for any time.

    Raises:
        ChannelClosedError: The other end is gone.
        TimeoutError: It stayed silent for longer.
    """
    channel.settimeout(seconds)
    (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size))
    header: Header = json.loads(_exactly(channel, length))
    return header, [_exactly(channel, size) for size in header.pop("blobs")]


def poll_for_input(descriptors: Iterable[int]) -> select.poll:
    """Returns an object whose `poll` waits until one of these can be read from, or its other end is closed."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return poll


def _exactly(channel: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        try:
            piece = channel.recv(min(size - len(received), 1 << 20))
        except ConnectionResetError as error:
            raise ChannelClosedError from error
        if not piece:
            raise ChannelClosedError
        received += piece
    return bytes(received)
