"""Joins a Ray cluster, or starts one on this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from calmstorm.errors import InputError, MissingExtraError

LOCAL = "local"
"""Starts Ray on this machine, for as long as the session lasts."""
AUTO = "auto"
"""The cluster that this machine is part of."""
_LOOPBACK = "127.0.0.1"
_CONNECT_SECONDS = 10.0


@contextmanager
def cluster_session(address: str) -> Iterator[int]:
    """Joins a cluster, yields the number of its nodes, and leaves it at the end.

    Args:
        address: `local`, `auto`, or `HOST:PORT` of its head.

    Raises:
        InputError: There is no cluster at the address.
        MissingExtraError: Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "cluster") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address == LOCAL:
            ray.init(_node_ip_address=_LOOPBACK, include_dashboard=False, **quiet)
        else:
            _require_listener(address)
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--cluster is '{address}', where no Ray cluster answers ({reason}): start one with 'ray start --head' and "
            f"'ray start --address HOST:PORT' on each node, or give --cluster {LOCAL}"
        ) from None
    try:
        yield sum(bool(node["Alive"]) for node in ray.nodes())
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Connects to a head once: Ray itself tries for minutes."""
    if address != AUTO:
        host, _, port = address.rpartition(":")
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
