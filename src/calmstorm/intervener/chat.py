"""A chat model behind an OpenAI-compatible endpoint that is asked until its reply can be used.

Transport errors, timeouts and busy servers are retried with growing pauses. A reply that cannot be used is sent back
with the reason, a few times. Keys come from the environment, go to the server and nowhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Callable
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.intervener.placing import Unusable
from calmstorm.records import Record

URL_VARIABLE = "CALM_INTERVENER_URL"
KEY_VARIABLES = ("CALM_INTERVENER_KEY", "OPENAI_API_KEY")
"""Environment variables looked at for the key, in this order."""

T = TypeVar("T")


class ChatSettings(Record):
    """How to talk to a server."""

    timeout_seconds: float = 600.0
    """Bound on one request; a model that thinks long takes minutes."""
    connect_seconds: float = 10.0
    retries: int = 4
    """Further attempts after a failed request, with growing pauses."""
    attempts: int = 3
    """Replies asked for until one can be used."""
    concurrency: int = 16
    """Requests in flight at once."""


class ChatModel:
    """A model that answers one prompt at a time. `ask` may be awaited by many tasks of one event loop."""

    def __init__(
        self,
        model: str,
        *,
        temperature: float,
        top_p: float,
        base_url: str | None = None,
        client: openai.AsyncOpenAI | None = None,
        settings: ChatSettings | None = None,
    ) -> None:
        """Prepares a client; nothing is sent yet.

        Args:
            model: Name the server knows the model by.
            temperature: Sampling temperature.
            top_p: Nucleus sampling.
            base_url: Where the API is; None takes it from the environment.
            client: A client to use instead of one made here; whoever made it closes it.
            settings: Timeouts, retries, concurrency.

        Raises:
            InputError: There is no URL, it is not one, or it would send a key in the clear.
        """
        self._model, self._temperature, self._top_p = model, temperature, top_p
        self._settings = settings or ChatSettings()
        self._owned = client is None
        self._client = client or _client(base_url, self._settings)
        self._slots = asyncio.Semaphore(self._settings.concurrency)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._model

    async def ask(self, prompt: str, read: Callable[[str], T]) -> T:
        """Asks until a reply can be read.

        Args:
            prompt: The whole prompt.
            read: Makes sense of a reply; raises `Unusable` with the reason when it cannot.

        Raises:
            InputError: The server refuses key, model or request.
            InfrastructureError: The server cannot be reached, or no reply could be used.
        """
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": prompt}]
        reason = ""
        for _ in range(self._settings.attempts):
            async with self._slots:
                reply = await self._send(messages)
            try:
                return read(_require_text(reply))
            except Unusable as why:
                reason = str(why)
            messages += [
                {"role": "assistant", "content": reply or "(empty)"},
                {"role": "user", "content": f"This reply cannot be used: {reason}. Reply again, in the same format."},
            ]
        raise InfrastructureError(
            f"{self._model} gave no usable reply in {self._settings.attempts} attempts; the last: {reason}"
        )

    async def _send(self, messages: list[ChatCompletionMessageParam]) -> str:
        try:
            answer = await self._client.chat.completions.create(
                model=self._model, messages=messages, temperature=self._temperature, top_p=self._top_p
            )
        except openai.OpenAIError as error:
            self._report(error)
        if not isinstance(answer, ChatCompletion) or not answer.choices:
            return ""
        return answer.choices[0].message.content or ""

    def _report(self, error: openai.OpenAIError) -> NoReturn:
        """Says in one line whose fault it is and what to do."""
        url = str(self._client.base_url).rstrip("/")
        reason = (str(error).strip().splitlines() or [""])[0].replace(self._client.api_key, "***")[:300]
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            raise InputError(f"{url} refuses the API key: set {KEY_VARIABLES[0]}") from None
        if isinstance(error, openai.NotFoundError):
            raise InputError(
                f"{url} knows no model {self._model!r} ({reason}): set the model, or {URL_VARIABLE}"
            ) from None
        if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            raise InputError(f"{url} refuses the request ({reason}): change model or sampling") from None
        raise InfrastructureError(
            f"{url} failed {self._client.max_retries + 1} times ({type(error).__name__}: {reason})"
        ) from None

    async def close(self) -> None:
        """Closes the connections."""
        if self._owned:
            await self._client.close()


def _require_text(reply: str) -> str:
    if not reply.strip():
        raise Unusable("it is empty")
    return reply


def _client(base_url: str | None, settings: ChatSettings) -> openai.AsyncOpenAI:
    url = base_url or os.environ.get(URL_VARIABLE, "")
    if not url:
        raise InputError(
            f"{URL_VARIABLE} is not set; a reviewing model needs the base URL of an OpenAI-compatible API: "
            f"export {URL_VARIABLE} and {KEY_VARIABLES[0]}"
        )
    key = next((value for name in KEY_VARIABLES if (value := os.environ.get(name))), "")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        raise InputError(
            f"{URL_VARIABLE} is {shown!r}; it must read http(s)://host/..., without user or password: correct it"
        )
    if parts.scheme == "http" and key and not _is_loopback(parts.hostname):
        raise InputError(
            f"{URL_VARIABLE} is {url!r}; over http the API key could be read on its way: use https, or unset the key"
        )
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=key or "none",
        timeout=openai.Timeout(settings.timeout_seconds, connect=settings.connect_seconds),
        max_retries=settings.retries,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
