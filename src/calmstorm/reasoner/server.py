"""A model behind an OpenAI-compatible completions endpoint (vLLM, SGLang, llama.cpp, a hosted one).

With a tokenizer, prompts go out and completions come back as token ids, which reinforcement needs; without one it is
text in ChatML, good for curation and evaluation. What a server can do is found out with the first answers and
remembered: one that cannot say whether a stop string or the end of the turn ended a completion is read as a stream, and
cut off here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any, NoReturn

import openai
from openai.types import Completion as Answer
from openai.types.completion_choice import Logprobs

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.reasoner.codec import TokenizerCodec, load_tokenizer
from calmstorm.reasoner.prompting import DEFAULT_PROMPT, chat, chatml, user_message
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling
from calmstorm.records import Record

API_KEY_VARIABLES = ("CALM_API_KEY", "OPENAI_API_KEY")
"""Environment variables looked at for the key, in this order; keys come from nowhere else."""


class ServerSettings(Record):
    """How to talk to a server."""

    timeout_seconds: float = 1800.0
    """Bound on one request; a long response of a busy server takes minutes."""
    connect_seconds: float = 10.0
    retries: int = 3
    """Further attempts after a failed request, with growing pauses."""
    concurrency: int = 64
    """Requests in flight at once."""
    sampled_logprobs: bool = False
    """The server reports log-probabilities of the distribution it sampled from (vLLM: `--logprobs-mode
    processed_logprobs`). Unless it does, they are only recorded at temperature 1, where both are the same."""


class ServerReasoner:
    """A Reasoner on a server. `generate` may be awaited by many tasks of one event loop; the server batches them."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        tokenizer: str | None = None,
        prompt: str = DEFAULT_PROMPT,
        settings: ServerSettings | None = None,
    ) -> None:
        """Prepares a client; nothing is sent yet.

        Args:
            base_url: where the API is; "/v1" is added to a bare host.
            model: name the server knows the model by.
            tokenizer: directory or hub id of the model's tokenizer; None talks in text.
            prompt: name of a prompt.
            settings: timeouts, retries, concurrency.

        Raises:
            InputError: the URL is not one, or there is no such tokenizer or prompt.
        """
        if not base_url.startswith(("http://", "https://")):
            raise InputError(f"base URL is {base_url!r}; it must begin with http:// or https://: correct --reasoner")
        self._settings = settings or ServerSettings()
        self._url = base_url.rstrip("/") + ("" if base_url.rstrip("/").count("/") > 2 else "/v1")
        self._model = model
        self._prompt = prompt
        self._codec = None if tokenizer is None else TokenizerCodec(load_tokenizer(tokenizer))
        user_message(prompt, "")  # an unknown prompt is an error now, not at the first problem
        self._streams = False
        self._slots = asyncio.Semaphore(self._settings.concurrency)
        keys = (os.environ.get(name) for name in API_KEY_VARIABLES)
        self._client = openai.AsyncOpenAI(
            base_url=self._url,
            api_key=next((key for key in keys if key), "none"),
            timeout=openai.Timeout(self._settings.timeout_seconds, connect=self._settings.connect_seconds),
            max_retries=self._settings.retries,
        )

    @property
    def name(self) -> str:
        """Model and URL."""
        return f"{self._model} at {self._url}"

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
            InputError: the server refuses the request, or gives no token ids although a tokenizer was given.
            InfrastructureError: the server cannot be reached or keeps failing.
        """
        request: dict[str, Any] = {
            "model": self._model,
            "prompt": prefix.text if self._codec is None else list(prefix.token_ids or ()),
            "max_tokens": max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
        }
        if sampling.seed is not None:
            # Each call of a rollout draws from its own stream.
            request["seed"] = (sampling.seed * 1_000_003 + len(prefix.text)) % 2**31
        async with self._slots:
            try:
                return await self._ask(request, stop, sampling)
            except openai.OpenAIError as error:
                self._report(error)

    async def _ask(self, request: dict[str, Any], stop: Sequence[str], sampling: Sampling) -> Completion:
        if self._codec is None and self._streams:
            return await self._stream(request, stop)
        try:
            answer = await self._client.completions.create(
                **request,
                stop=list(stop) or None,
                logprobs=None if self._codec is None else 1,
                extra_body={"return_token_ids": self._codec is not None, "include_stop_str_in_output": True},
            )
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if self._codec is not None:
                raise
            completion = None  # strict servers refuse fields they don't know
        else:
            completion = self._read_ids(answer, sampling) if self._codec is not None else _read_text(answer, stop)
        if completion is None:
            completion = await self._stream(request, stop)
            self._streams = True
        return completion

    def _read_ids(self, answer: Answer, sampling: Sampling) -> Completion:
        assert self._codec is not None  # noqa: S101 - for the type checker
        choice = answer.choices[0]
        ids: list[int] | None = (choice.model_extra or {}).get("token_ids")
        if ids is None:
            raise InputError(
                f"{self._url} returns no token ids, which a tokenizer asks for: "
                "use a server with return_token_ids (vLLM), or leave the tokenizer out"
            )
        ends = bool(ids) and ids[-1] in self._codec.tokenizer.all_special_ids
        if choice.finish_reason == "length":
            reason = CompletionStop.LENGTH
        else:
            reason = CompletionStop.END_OF_TURN if ends else CompletionStop.STOP_STRING
        return Completion(
            text=self._codec.decode(ids[:-1] if reason is CompletionStop.END_OF_TURN else ids),
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

    async def _stream(self, request: dict[str, Any], stop: Sequence[str]) -> Completion:
        """Reads a completion as it is written and breaks off behind a stop string: works with any server."""
        for attempt in range(self._settings.retries + 1):
            try:
                return await self._stream_once(request, stop)
            except openai.OpenAIError:  # the client has retried what can be
                raise
            except Exception as error:  # broken off in the middle: an error of the client's HTTP library
                broken = error
            await asyncio.sleep(min(0.5 * 2**attempt, 8))
        raise InfrastructureError(f"{self._url} keeps breaking off ({type(broken).__name__}: {broken})")

    async def _stream_once(self, request: dict[str, Any], stop: Sequence[str]) -> Completion:
        text, reason = "", CompletionStop.END_OF_TURN
        async with await self._client.completions.create(**request, stream=True) as chunks:
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

    def _report(self, error: openai.OpenAIError) -> NoReturn:
        """Says in one line whose fault it is and what to do."""
        reason = str(error).strip().splitlines()[0][:300]
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            raise InputError(f"{self._url} refuses the API key: set {API_KEY_VARIABLES[0]}") from error
        if isinstance(error, openai.NotFoundError):
            raise InputError(f"{self._url} knows no model {self._model!r} ({reason}): set --model") from error
        if isinstance(error, openai.BadRequestError | openai.UnprocessableEntityError):
            raise InputError(f"{self._url} refuses the request ({reason}): change model, prompt or limits") from error
        raise InfrastructureError(
            f"{self._url} failed {self._settings.retries + 1} times ({type(error).__name__}: {reason})"
        ) from error

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()


def _read_text(answer: Answer, stop: Sequence[str]) -> Completion | None:
    """Makes sense of an answer; None when it doesn't tell what ended it."""
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
