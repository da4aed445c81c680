"""A model behind an OpenAI-compatible completions endpoint (vLLM, SGLang, llama.cpp, a hosted one).

With a tokenizer, prompts go out and completions come back as token ids, which reinforcement needs; without one it is
text in ChatML, good for curation and evaluation. What a server can do is found out with the first answers and
remembered: one that cannot say whether a stop string or the end of the turn ended a completion is read as a stream, and
cut off here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import openai
from openai.types import Completion as Answer
from openai.types.completion_choice import Logprobs

from calmstorm.endpoint import Endpoint
from calmstorm.errors import InfrastructureError, InputError
from calmstorm.reasoner.codec import TokenizerCodec, load_tokenizer
from calmstorm.reasoner.prompting import DEFAULT_PROMPT, chat, chatml, user_message
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling
from calmstorm.settings import ServerSettings

_EXTRAS = {"include_stop_str_in_output": True}
"""Fields beyond OpenAI's: vLLM and SGLang know them."""


class ServerReasoner:
    """A Reasoner on a server.

    Concurrency: `generate` may be awaited by many tasks of one event loop; the server batches them.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        tokenizer: str | None = None,
        prompt: str = DEFAULT_PROMPT,
        settings: ServerSettings | None = None,
    ) -> None:
        """Prepares a client; nothing is sent yet. The key is that of CALM_API_KEY, else of OPENAI_API_KEY.

        Args:
            base_url: Where the API is; "/v1" is added to a bare host.
            model: Name the server knows the model by.
            tokenizer: Directory or hub id of the model's tokenizer; None talks in text.
            prompt: Name of a prompt.
            settings: Timeouts, retries, concurrency.

        Raises:
            InputError: The URL or the key cannot be used, or there is no such tokenizer or prompt.
        """
        user_message(prompt, "")  # an unknown prompt is an error now, not at the first problem
        self._settings = settings or ServerSettings()
        bare = base_url.rstrip("/")
        url = f"{bare}/v1" if bare.count("/") == 2 else bare
        self._endpoint = Endpoint(url, self._settings, source="--reasoner", key_variable="CALM_API_KEY")
        self._model = model
        self._prompt = prompt
        self._codec = None if tokenizer is None else TokenizerCodec(load_tokenizer(tokenizer))
        self._streams = False

    @property
    def name(self) -> str:
        """Model and URL."""
        return f"{self._model} at {self._endpoint.url}"

    @property
    def codec(self) -> TokenizerCodec | None:
        """The tokenizer, where one was given."""
        return self._codec

    @property
    def prompt(self) -> str:
        """Name of the prompt in use, for results."""
        return self._prompt

    def render(self, question: str) -> Prefix:
        """Returns the prompt for a problem text."""
        message = user_message(self._prompt, question)
        if self._codec is None:
            return Prefix(text=chatml(message))
        text = chat(self._codec.tokenizer, message)
        ids = self._codec.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Prefix(text=text, token_ids=tuple(ids))

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        """Continues `prefix` on the server.

        Raises:
            InputError: The server refuses the request, or gives no token ids although a tokenizer was given.
            InfrastructureError: The server cannot be reached or keeps failing.
        """
        request: dict[str, Any] = {
            "model": self._model,
            "prompt": prefix.text if self._codec is None else "",
            "max_tokens": max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.seed is not None:
            # Each call of a rollout draws from its own stream.
            request["seed"] = (sampling.seed * 1_000_003 + len(prefix.text)) % 2**31
        async with self._endpoint.request(self._model) as client:
            if self._codec is not None:
                # In `extra_body` the ids are sent as they are; the client would walk those of `prompt` one by one.
                extra = {**_EXTRAS, "return_token_ids": True, "prompt": list(prefix.token_ids or ())}
                answer = await client.completions.create(
                    **request, stop=list(stop) or None, logprobs=1, extra_body=extra
                )
                return self._read_ids(answer, self._codec, sampling)
            completion = None if self._streams else await _complete(client, request, stop)
            if completion is None:
                completion = await self._stream(client, request, stop)
                self._streams = True
            return completion

    def _read_ids(self, answer: Answer, codec: TokenizerCodec, sampling: Sampling) -> Completion:
        choice = answer.choices[0]
        ids: list[int] | None = (choice.model_extra or {}).get("token_ids")
        if ids is None:
            raise InputError(
                f"{self._endpoint.url} returns no token ids, which a tokenizer asks for: "
                "use a server with return_token_ids (vLLM), or leave the tokenizer out"
            )
        ends = bool(ids) and ids[-1] in codec.tokenizer.all_special_ids
        if choice.finish_reason == "length":
            reason = CompletionStop.LENGTH
        else:
            reason = CompletionStop.END_OF_TURN if ends else CompletionStop.STOP_STRING
        return Completion(
            text=codec.decode(ids[:-1] if reason is CompletionStop.END_OF_TURN else ids),
            token_ids=tuple(ids),
            logprobs=self._logprobs(choice.logprobs, len(ids), sampling),
            stop=reason,
        )

    def _logprobs(self, given: Logprobs | None, count: int, sampling: Sampling) -> tuple[float, ...] | None:
        values = None if given is None else given.token_logprobs
        if values is None or len(values) != count or any(value is None for value in values):
            return None
        if sampling.temperature != 1 and not self._settings.sampled_logprobs:
            return None
        return tuple(float(value) for value in values if value is not None)

    async def _stream(self, client: openai.AsyncOpenAI, request: dict[str, Any], stop: Sequence[str]) -> Completion:
        """Reads a completion as it is written and breaks off behind a stop string: works with any server."""
        for attempt in range(self._settings.retries + 1):
            try:
                return await _stream_once(client, request, stop)
            except openai.OpenAIError:  # the client has retried what can be
                raise
            except Exception as error:  # broken off in the middle: an error of the client's HTTP library
                reason = self._endpoint.describe(error)
            await asyncio.sleep(min(0.5 * 2**attempt, 8))
        raise InfrastructureError(f"{self._endpoint.url} keeps breaking off ({reason})")

    async def close(self) -> None:
        """Closes the connections."""
        await self._endpoint.close()


async def _complete(client: openai.AsyncOpenAI, request: dict[str, Any], stop: Sequence[str]) -> Completion | None:
    """Asks for a text at once; None when the server cannot say what ended it."""
    try:
        answer = await client.completions.create(**request, stop=list(stop) or None, extra_body=_EXTRAS)
    except (openai.BadRequestError, openai.UnprocessableEntityError):
        return None  # strict servers refuse fields they don't know
    return _read_text(answer, stop)


async def _stream_once(client: openai.AsyncOpenAI, request: dict[str, Any], stop: Sequence[str]) -> Completion:
    text, reason = "", CompletionStop.END_OF_TURN
    async with await client.completions.create(**request, stream=True) as chunks:
        async for chunk in chunks:
            if not chunk.choices:
                continue
            text += chunk.choices[0].text
            ends = [text.index(s) + len(s) for s in stop if s in text]
            if ends:
                return Completion(text=text[: min(ends)], stop=CompletionStop.STOP_STRING)
            if chunk.choices[0].finish_reason == "length":
                reason = CompletionStop.LENGTH
    return Completion(text=text, stop=reason)


def _read_text(answer: Answer, stop: Sequence[str]) -> Completion | None:
    """Reads a text and what ended it; None when the answer doesn't say."""
    choice = answer.choices[0]
    extra = choice.model_extra or {}
    text = choice.text
    if any(s in text for s in stop):
        reason = CompletionStop.STOP_STRING
    elif choice.finish_reason == "length":
        reason = CompletionStop.LENGTH
    elif isinstance(extra.get("stop_reason"), str):
        text += extra["stop_reason"]
        reason = CompletionStop.STOP_STRING
    elif "stop_reason" in extra or not stop:
        reason = CompletionStop.END_OF_TURN
    else:
        return None
    return Completion(text=text, stop=reason)
