"""Clients of OpenAI-compatible APIs: addresses, keys, retries and errors in one place.

Environment variables:
    CALM_API_KEY: Key of the Reasoner's server.
    CALM_INTERVENER_URL: Base URL of the API of the reviewing model.
    CALM_INTERVENER_KEY: Its key.
    OPENAI_API_KEY: Key of either, where its own variable is not set.

A key comes from the environment and from nowhere else. It is never sent over plain http to another machine, and it is
masked in every message.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, urlsplit

import openai

from calmstorm.errors import CalmstormError, InfrastructureError, InputError
from calmstorm.settings import EndpointSettings

COMMON_KEY_VARIABLE = "OPENAI_API_KEY"


class Endpoint:
    """An API at a base URL. `request` may be entered by many tasks of one event loop."""

    def __init__(self, url: str, settings: EndpointSettings, *, source: str, key_variable: str) -> None:
        """Prepares a client; nothing is sent yet.

        Args:
            url: Base URL of the API.
            settings: Timeouts, retries, concurrency.
            source: The option or variable that the URL comes from, for messages.
            key_variable: Environment variable of the key; where it is not set, OPENAI_API_KEY.

        Raises:
            InputError: The URL is not one, holds a password or would send the key in the clear; or the key is not one.
        """
        parts = _split(url.strip(), source, key_variable)
        self.url = parts.geturl().rstrip("/")
        self._settings, self._source, self._key_variable = settings, source, key_variable
        name, self._key = _key(key_variable)
        loopback = parts.scheme == "http" and _is_loopback(parts.hostname or "")
        if self._key and parts.scheme == "http" and not loopback:
            raise InputError(
                f"{source} is {url!r}; over plain http others could read the API key: use https, or unset {name}"
            )
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._client = openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self._key or "none",
            timeout=openai.Timeout(settings.timeout_seconds, connect=settings.connect_seconds),
            max_retries=settings.retries,
            # A proxy named in the environment would see the key of a server on this machine.
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False) if loopback else None,
        )

    @asynccontextmanager
    async def request(self, model: str) -> AsyncIterator[openai.AsyncOpenAI]:
        """Waits for its turn and yields the client; what the client raises leaves as an error of ours.

        Args:
            model: The model that is asked, for messages.

        Raises:
            InputError: The server refuses key, model or request.
            InfrastructureError: The server cannot be reached or keeps failing.
        """
        async with self._slots:
            try:
                yield self._client
            except openai.OpenAIError as error:
                raise self._explained(error, model) from None  # the original may quote the key

    def _explained(self, error: openai.OpenAIError, model: str) -> CalmstormError:
        """Returns an error that says in one line whose fault it is and what to do."""
        reason = self.describe(error)
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return InputError(f"{self.url} refuses the API key: set {self._key_variable}")
        if isinstance(error, openai.NotFoundError):
            return InputError(f"{self.url} knows no model {model!r} ({reason}): set the model, or {self._source}")
        if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            return InputError(f"{self.url} refuses the request ({reason}): change model, sampling or limits")
        return InfrastructureError(f"{self.url} failed {self._settings.retries + 1} times ({reason})")

    def describe(self, error: Exception) -> str:
        """Returns kind and first line of an error, without the key."""
        line = (str(error).strip().splitlines() or [""])[0]
        shown = line.replace(self._key, "***") if self._key else line
        return f"{type(error).__name__}: {shown[:300]}"

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def _split(url: str, source: str, key_variable: str) -> SplitResult:
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


def _key(variable: str) -> tuple[str, str]:
    """Returns the variable that holds the key, and the key; it is "" where there is none."""
    for name in (variable, COMMON_KEY_VARIABLE):
        if key := os.environ.get(name, "").strip():
            if not key.isascii() or not key.isprintable():
                raise InputError(f"{name} holds characters that a key cannot have: set it again")
            return name, key
    return variable, ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
