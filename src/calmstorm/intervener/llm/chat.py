"""Asks a chat model behind an OpenAI-compatible API until its reply can be used.

Failed requests are tried again by the endpoint. A reply that cannot be used is sent back with the reason, a few times.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, ClassVar, TypeVar

from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from calmstorm.endpoint import Endpoint
from calmstorm.errors import InfrastructureError, InputError
from calmstorm.intervener.hint_checks import Unusable
from calmstorm.settings import IntervenerSettings

URL_VARIABLE = "CALM_INTERVENER_URL"
KEY_VARIABLE = "CALM_INTERVENER_KEY"

T = TypeVar("T")

_MARKER = re.compile(r"\[\[(\w+)\]\]")


class ChatReviewer:
    """A chat model with a versioned prompt. Its subclasses may be asked by many tasks of one event loop."""

    prompt: ClassVar[str]
    """File in `prompts/`, named with its version."""

    def __init__(
        self,
        settings: IntervenerSettings | None = None,
        base_url: str | None = None,
    ) -> None:
        """Prepares a client; nothing is sent yet.

        Args:
            settings: The model, its sampling, time-outs and retries.
            base_url: Where the API is; None takes it from CALM_INTERVENER_URL. The key is that of CALM_INTERVENER_KEY,
                else of OPENAI_API_KEY.

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

    @property
    def name(self) -> str:
        """Model and version of the prompt ("llm:gemini-2.5-pro@intervener-1")."""
        return f"llm:{self._model}@{self.prompt}"

    async def _ask(self, values: Mapping[str, str], read: Callable[[str], T]) -> T:
        """Asks until a reply can be read.

        Args:
            values: What the prompt's markers stand for.
            read: Reads a reply; raises `Unusable` with the reason when it cannot.
        """
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": _filled(self.prompt, values)}]
        reason = ""
        for _ in range(self._settings.attempts):
            reply = await self._reply(messages)
            try:
                if not reply.strip():
                    raise Unusable("it is empty")
                return read(reply)
            except Unusable as why:
                reason = str(why)
            messages += [
                {"role": "assistant", "content": reply or "(empty)"},
                {"role": "user", "content": f"This reply cannot be used: {reason}. Reply again, in the same format."},
            ]
        raise InfrastructureError(
            f"{self._model} gave no usable reply in {self._settings.attempts} attempts; the last: {reason}"
        )

    async def _reply(self, messages: list[ChatCompletionMessageParam]) -> str:
        async with self._endpoint.request(self._model) as client:
            given = {"temperature": self._settings.temperature, "top_p": self._settings.top_p}
            sampling: dict[str, Any] = {key: value for key, value in given.items() if value != "default"}
            answer = await client.chat.completions.create(model=self._model, messages=messages, **sampling)
        if not isinstance(answer, ChatCompletion) or not answer.choices:
            return ""
        return answer.choices[0].message.content or ""

    async def close(self) -> None:
        """Closes the connections."""
        await self._endpoint.close()


def _filled(name: str, values: Mapping[str, str]) -> str:
    """Returns a prompt with every `[[marker]]` of its file replaced by the value of that name.

    The file is split at its markers once, so that nothing in a problem or a response is taken for a marker.
    """
    template = files("calmstorm.intervener").joinpath("prompts", f"{name}.md").read_text(encoding="utf-8")
    pieces = _MARKER.split(template)
    return "".join(values[piece] if index % 2 else piece for index, piece in enumerate(pieces)).strip()
