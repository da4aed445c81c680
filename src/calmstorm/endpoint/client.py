"""One API at one base URL: a single attempt at a request, and what its failure means."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.request import getproxies

import httpx2
import openai
from pydantic import BaseModel, ValidationError

from calmstorm.endpoint.address import is_loopback, key_from, split_url
from calmstorm.errors import InfrastructureError, InputError
from calmstorm.settings import EndpointSettings

T = TypeVar("T")

Call = Callable[[openai.AsyncOpenAI], Awaitable[T]]
"""Sends one request and reads its answer; raises `AttemptError` for an answer that cannot be used."""

CLIENT_ERRORS = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL, OSError, ValueError)
"""What a client raises when server, connection or answer are not as they should be."""

_BUSY = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may be gone a moment later."""

_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]
"""A machine that vanished while it was writing is noticed after a minute, and not only when the request times out."""


class AttemptError(InfrastructureError):
    """One attempt failed. Only `EndpointPool` sees it: it tries again or gives up."""

    def __init__(
        self, reason: str, *, again: bool = True, reached: bool = True, pause_seconds: float | None = None
    ) -> None:
        super().__init__(reason)
        self.again = again
        """Whether another attempt may succeed."""
        self.reached = reached
        """Whether there was a server to talk to."""
        self.pause_seconds = pause_seconds
        """How long the server asks to be left alone."""


class Served(BaseModel):
    """A model that a server lists."""

    id: str
    max_model_len: int | None = None
    """Tokens of prompt and response together at most; vLLM and SGLang say so."""


class _Listed(BaseModel):
    data: list[Served]


class Endpoint:
    """An API at a base URL, asked by many tasks of one event loop."""

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
        parts = split_url(url.strip(), source, key_variable)
        self.url = parts.geturl().rstrip("/")
        self._settings, self._source, self._key_variable = settings, source, key_variable
        name, self._key = key_from(key_variable)
        loopback = parts.scheme == "http" and is_loopback(parts.hostname or "")
        if self._key and parts.scheme == "http" and not loopback:
            raise InputError(
                f"{source} is {url!r}; over plain http others could read the API key: use https, or unset {name}"
            )
        # A proxy named in the environment would see the key of a server on this machine.
        self._trusts_environment = not loopback
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._http = _http_client(settings, trust_env=self._trusts_environment)
        self._client = openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self._key or "none",
            timeout=openai.Timeout(settings.timeout_seconds, connect=settings.connect_seconds),
            max_retries=0,
            http_client=self._http,
        )

    async def attempt(self, call: Call[T], model: str) -> T:
        """Waits for its turn, and makes one attempt.

        Args:
            call: Sends the request and reads the answer.
            model: The model that is asked, for messages.

        Raises:
            InputError: The server refuses the key, or knows no such model.
            AttemptError: Anything else that went wrong.
        """
        async with self._slots:
            try:
                # The client's own limit begins anew with every byte that arrives.
                async with asyncio.timeout(self._settings.timeout_seconds + self._settings.connect_seconds):
                    return await call(self._client)
            except CLIENT_ERRORS as error:
                raise self._explained(error, model) from None  # the original may quote the key

    @asynccontextmanager
    async def request(self, model: str) -> AsyncIterator[openai.AsyncOpenAI]:
        """Waits for its turn and yields a client that retries by itself; its errors leave as errors of ours.

        Args:
            model: The model that is asked, for messages.

        Raises:
            InputError: The server refuses the key, or knows no such model.
            InfrastructureError: The server cannot be reached, keeps failing, or refuses this request.
        """
        async with self._slots:
            try:
                yield self._client.with_options(max_retries=self._settings.retries)
            except CLIENT_ERRORS as error:
                explained = self._explained(error, model)
                if isinstance(explained, AttemptError) and explained.again:
                    failed = f"{self.url} failed {self._settings.retries + 1} times ({explained})"
                    raise InfrastructureError(failed) from None
                raise explained from None

    def _explained(self, error: Exception, model: str) -> InputError | AttemptError:
        """Returns an error that says in one line whose fault it is and what to do."""
        reason = self.describe(error)
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            return InputError(f"{self.url} refuses the API key: set {self._key_variable}")
        if isinstance(error, openai.NotFoundError):
            return InputError(f"{self.url} knows no model {model!r} ({reason}): set the model, or {self._source}")
        if isinstance(error, openai.APIStatusError) and error.status_code not in _BUSY and error.status_code < 500:
            return AttemptError(
                f"{self.url} refuses the request ({reason}): change model, sampling or limits", again=False
            )
        if isinstance(error, openai.APIStatusError):
            return AttemptError(reason, pause_seconds=asked_pause(error.response.headers))
        cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
        shown = reason if cause is None or cause is error else self.describe(cause)
        return AttemptError(shown, reached=not isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout))

    def describe(self, error: BaseException) -> str:
        """Returns kind and first line of an error, without the key."""
        line = (str(error).strip().splitlines() or [""])[0]
        shown = line.replace(self._key, "***") if self._key else line
        return f"{type(error).__name__}: {shown[:300]}" if shown else type(error).__name__

    async def alive(self) -> bool:
        """Whether the server answers, and says that it is well where it can be asked."""
        status = await self.status_of("/health")
        if status in (404, 405, 501):  # it has no such page
            status = await self.status_of("/v1/models" if self.url.endswith("/v1") else "/models")
        return status is not None and status < 500

    async def status_of(self, page: str) -> int | None:
        """Returns the status that a page beside the API is answered with; None where there is no answer."""
        try:
            async with asyncio.timeout(2 * self._settings.connect_seconds):
                root = self.url.removesuffix("/v1")
                return (await self._http.get(root + page, headers=self._headers)).status_code
        except CLIENT_ERRORS:
            return None

    def served(self) -> list[Served]:
        """Asks the server for its models; blocks, so that it can be asked before there is an event loop.

        Raises:
            AttemptError: It does not say.
        """
        reached = True
        try:
            with httpx2.Client(
                timeout=self._settings.connect_seconds, trust_env=self._trusts_environment, follow_redirects=True
            ) as client:
                answer = client.get(f"{self.url}/models", headers=self._headers)
            answer.raise_for_status()
            return _Listed.model_validate_json(answer.content).data
        except ValidationError:
            reason = "the answer is no list of models"
        except CLIENT_ERRORS as error:
            reason = self.describe(error)
            reached = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        raise AttemptError(f"{self.url} does not say which models it serves ({reason})", reached=reached)

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def asked_pause(headers: httpx2.Headers) -> float | None:
    """Returns the seconds that a server asks to be left alone: `Retry-After` in seconds or as a date; None without."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            return max(0.0, float(milliseconds) / 1000)
        if (given := headers.get("retry-after")) is None:
            return None
        if given.strip().replace(".", "", 1).isdigit():
            return float(given)
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _http_client(settings: EndpointSettings, *, trust_env: bool) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=settings.concurrency + 8, max_keepalive_connections=settings.concurrency)
    if trust_env and getproxies():  # a transport of our own would go past the proxy
        return openai.DefaultAsyncHttpxClient(limits=limits)
    transport = httpx2.AsyncHTTPTransport(limits=limits, socket_options=_KEEPALIVE, trust_env=trust_env)
    return openai.DefaultAsyncHttpxClient(transport=transport, trust_env=trust_env)
