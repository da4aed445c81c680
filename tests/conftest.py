"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Takes SIGINT back where the tests run in the background: shells let such jobs, and their children, ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
