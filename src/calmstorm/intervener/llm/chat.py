"""Asks a chat model behind an OpenAI-compatible API until its reply can be used.

Two kinds of trouble are kept apart. A server that fails, or answers with something that is no chat completion, is asked
again, and then the failure is ours (`InfrastructureError`): the review is still open. A reply that cannot be used is
sent back with the reason, a few times; then the review has failed for good (`ReviewOutcome.FAILED`). So it has when
the server refuses this one request (as too long, or by a filter) and takes others.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import openai
from openai.types.chat import ChatCompletionMessageParam

from calmstorm.endpoint import Endpoint, EndpointPool
from calmstorm.errors import InputError
from calmstorm.intervener.hint_checks import Unusable
from calmstorm.intervener.llm.completion import Answer, read_answer
from calmstorm.intervener.llm.replies import Replies, request_key
from calmstorm.records import Usage
from calmstorm.settings import IntervenerSettings

URL_VARIABLE = "CALM_INTERVENER_URL"
KEY_VARIABLE = "CALM_INTERVENER_KEY"

T = TypeVar("T")

_MARKER = re.compile(r"\[\[(\w+)\]\]")
_SAMPLING = ("temperature", "top_p")
_QUOTED = 4000
"""Characters of an unusable reply that are sent back with the reason."""


@dataclass(frozen=True)
class Asked(Generic[T]):
    """What came of asking."""

    value: T | None
    """What was read; None also where the reading says None."""
    failure: str
    """Why no reply could be used; empty where one could."""
    usage: Usage
    """Of all requests; nothing where the reply was kept from before."""


class ChatReviewer:
    """A chat model with a versioned prompt. Its subclasses may be asked by many tasks of one event loop."""

    _settings: IntervenerSettings
    prompt: ClassVar[str]
    """File in `prompts/`, named with its version."""

    def __init__(
        self, settings: IntervenerSettings | None = None, base_url: str | None = None, *, cache: Path | None = None
    ) -> None:
        """Prepares a client; nothing is sent yet.

        Args:
            settings: The model, its sampling, time-outs and retries.
            base_url: Where the API is; None takes it from CALM_INTERVENER_URL. The key is that of CALM_INTERVENER_KEY,
                else of OPENAI_API_KEY.
            cache: File in which replies are kept by content; None keeps none.

        Raises:
            InputError: There is no URL, or URL or key cannot be used.
        """
        url = base_url or os.environ.get(URL_VARIABLE, "")
        if not url:
            raise InputError(
                f"{URL_VARIABLE} is not set; a reviewing model needs the base URL of an OpenAI-compatible API: "
                f"export {URL_VARIABLE} and {KEY_VARIABLE}"
            )
        self._settings = settings or IntervenerSettings()
        self._model = self._settings.model
        self._endpoint = Endpoint(url, self._settings, source=URL_VARIABLE, key_variable=KEY_VARIABLE)
        self._pool = EndpointPool([self._endpoint], self._settings)
        self._replies = None if cache is None else Replies(cache)
        self._has_answered = False
        self.spent = Usage()
        """Of all requests so far."""

    @property
    def name(self) -> str:
        """Model and version of the prompt ("llm:gemini-2.5-pro@intervener-2")."""
        return f"llm:{self._model}@{self.prompt}"

    async def _ask(self, values: Mapping[str, str], read: Callable[[str], T], about: str = "") -> Asked[T]:
        """Asks until a reply can be read.

        Args:
            values: What the prompt's markers stand for.
            read: Reads a reply; raises `Unusable` with the reason when it cannot.
            about: What is reviewed, for those who look a reply up.

        Raises:
            InputError: The server refuses key, model or every request.
            InfrastructureError: The server cannot be reached or keeps failing.
        """
        message = filled(self.prompt, values)
        key = request_key(self._model, self._sampling(), message)
        if self._replies is not None and (reply := self._replies.usable(key)) is not None:
            try:
                return Asked(read(reply), "", Usage())
            except Unusable:
                pass  # the rules about replies have changed since
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": message}]
        usage, reason = Usage(), ""
        for attempt in range(1, self._settings.attempts + 1):
            answer = await self._answer(messages)
            usage, self.spent = usage + answer.usage, self.spent + answer.usage
            value, reason = _read(answer, read)
            if self._replies is not None:
                self._replies.keep(
                    key,
                    attempt,
                    model=self._model,
                    prompt=self.prompt,
                    about=about,
                    reply=answer.text,
                    problem=reason,
                    usage=answer.usage,
                )
            if not reason:
                return Asked(value, "", usage)
            if answer.refused:
                return Asked(None, reason, usage)
            messages += [
                {"role": "assistant", "content": answer.text[:_QUOTED] or "(empty)"},
                {"role": "user", "content": f"This reply cannot be used: {reason}. Reply again, in the same format."},
            ]
        failure = f"{self._model} gave no usable reply in {self._settings.attempts} attempts; the last: {reason}"
        return Asked(None, failure, usage)

    async def _answer(self, messages: list[ChatCompletionMessageParam]) -> Answer:
        """Returns what the model says; what is no chat completion counts as a failure of the server."""
        return await self._pool.send(lambda client: self._send(client, messages), self._model)

    async def _send(self, client: openai.AsyncOpenAI, messages: list[ChatCompletionMessageParam]) -> Answer:
        started = time.monotonic()
        try:
            completion: object = await client.chat.completions.create(
                model=self._model, messages=messages, **self._sampling()
            )
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            reason = self._endpoint.describe(error)
            if setting := self._unsupported(reason):
                raise InputError(
                    f"{self._endpoint.url} does not take {setting} for {self._model} ({reason}): "
                    f"set intervener.{setting}=default"
                ) from None
            if not await self._takes_others(client):
                raise InputError(
                    f"{self._endpoint.url} refuses requests to {self._model} ({reason}): "
                    "change model, sampling or limits"
                ) from None
            return Answer("", f"the server refuses this request ({reason})", refused=True)
        answer = read_answer(completion, time.monotonic() - started)
        self._has_answered = True
        return answer

    async def _takes_others(self, client: openai.AsyncOpenAI) -> bool:
        """Whether the server answers other requests, so that a refusal is about the one that was made."""
        if not self._has_answered:
            probe: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Reply with OK."}]
            with contextlib.suppress(openai.BadRequestError, openai.UnprocessableEntityError):
                await client.chat.completions.create(model=self._model, messages=probe, **self._sampling())
                self._has_answered = True
        return self._has_answered

    def _sampling(self) -> dict[str, Any]:
        given = {name: getattr(self._settings, name) for name in _SAMPLING}
        return {name: value for name, value in given.items() if value != "default"}

    def _unsupported(self, reason: str) -> str | None:
        """Returns the setting of sampling that a refusal names."""
        return next((name for name in _SAMPLING if name in self._sampling() and name in reason), None)

    async def close(self) -> None:
        """Closes the connections and the file of replies."""
        if self._replies is not None:
            self._replies.close()
        await self._pool.close()


def _read(answer: Answer, read: Callable[[str], T]) -> tuple[T | None, str]:
    """Returns what a reply says, and why it cannot be used; the reason is empty where it can."""
    if answer.problem:
        return None, answer.problem
    try:
        return read(answer.text), ""
    except Unusable as why:
        return None, str(why)


def filled(name: str, values: Mapping[str, str]) -> str:
    """Returns a prompt with every `[[marker]]` of its file replaced by the value of that name.

    The file is split at its markers once, so that nothing in a problem or a response is taken for a marker. `[[begin]]`
    and `[[end]]` become lines that occur nowhere in the material and follow from it: equal material, equal prompt.
    """
    template = files("calmstorm.intervener").joinpath("prompts", f"{name}.md").read_text(encoding="utf-8")
    tag = _absent_tag(values)
    values = {**values, "begin": f"<<<{tag}>>>", "end": f"<<</{tag}>>>"}
    pieces = _MARKER.split(template)
    return "".join(values[piece] if index % 2 else piece for index, piece in enumerate(pieces)).strip()


def _absent_tag(values: Mapping[str, str]) -> str:
    """Returns a name that stands in none of the texts."""
    attempt = 0
    while True:
        tag = f"material-{request_key(attempt, dict(values))[:12]}"
        if not any(tag in text for text in values.values()):
            return tag
        attempt += 1
