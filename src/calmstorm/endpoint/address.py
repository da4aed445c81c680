"""Base URLs and keys: what is refused before anything is sent."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import SplitResult, urlsplit

from calmstorm.errors import InputError

COMMON_KEY_VARIABLE = "OPENAI_API_KEY"


def split_url(url: str, source: str, key_variable: str) -> SplitResult:
    """Returns the parts of a base URL.

    Raises:
        InputError: It is none, or it holds a password.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc:
        raise InputError(
            f"{source} is {url.rpartition('@')[2]!r}; it must begin with http:// or https:// and hold no password: "
            f"correct it; a key goes into {key_variable}"
        )
    return parts


def key_from(variable: str) -> tuple[str, str]:
    """Returns the variable that holds the key, and the key; it is "" where there is none.

    Raises:
        InputError: No header can carry the key.
    """
    for name in (variable, COMMON_KEY_VARIABLE):
        if key := os.environ.get(name, "").strip():
            if not key.isascii() or not key.isprintable():
                raise InputError(f"{name} holds characters that a key cannot have: set it again")
            return name, key
    return variable, ""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
