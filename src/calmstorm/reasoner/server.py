"""A model behind OpenAI-compatible completions endpoints (vLLM, SGLang, llama.cpp, a hosted one).

With a tokenizer, prompts go out and completions come back as token ids, which training needs. In text mode they are
text, good for curation and evaluation; the tokenizer, where there is one, then only frames the prompt, which without
one is framed in ChatML. What a server in text mode can do is found out with the first answers and remembered: one that
cannot say whether a stop string or the end of the turn ended a completion is read as a stream, and cut off here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import httpx2
import openai

from calmstorm.endpoint import AttemptError, Call, Endpoint, EndpointPool
from calmstorm.errors import InputError
from calmstorm.reasoner.answers import Answer, Piece, completion_of_ids, completion_of_text, read_answer
from calmstorm.reasoner.codec import TokenizerCodec, load_tokenizer
from calmstorm.reasoner.prompting import DEFAULT_PROMPT, chat, chatml, user_message
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling
from calmstorm.settings import ServerSettings

T = TypeVar("T")

KEY_VARIABLE = "CALM_API_KEY"
SOURCE = "--reasoner"

_EXTRAS = {"include_stop_str_in_output": True, "no_stop_trim": True, "repetition_penalty": 1.0}
"""Fields beyond OpenAI's: vLLM and SGLang know them, and would else take the last from the model's own settings."""

_PROBE = "\x00question\x00"


class ServerReasoner:
    """A Reasoner on one server, or on several of the same model.

    Concurrency: `generate` may be awaited by many tasks of one event loop; the servers batch them. A rollout is known
    by its prompt and its seed, which stay the same over its calls, and stays on its server.
    """

    _settings: ServerSettings

    def __init__(
        self,
        urls: str | Sequence[str | Endpoint],
        model: str,
        *,
        tokenizer: str | TokenizerCodec | None = None,
        prompt: str = DEFAULT_PROMPT,
        settings: ServerSettings | None = None,
        context_tokens: int | None = None,
    ) -> None:
        """Prepares clients; nothing is sent yet. The key is that of CALM_API_KEY, else of OPENAI_API_KEY.

        Args:
            urls: Where the API is, on one server or several; "/v1" is added to a bare host. Endpoints are taken over.
            model: Name the servers know the model by.
            tokenizer: The model's tokenizer, its directory or hub id; None talks in text framed in ChatML.
            prompt: Name of a prompt.
            settings: Timeouts, retries, concurrency, text mode.
            context_tokens: Prompt and response together at most, where it is known.

        Raises:
            InputError: A URL or the key cannot be used, or there is no such tokenizer or prompt.
        """
        user_message(prompt, "")  # an unknown prompt is an error now, not at the first problem
        self._settings = settings or ServerSettings()
        given = [urls] if isinstance(urls, str) else urls
        endpoints = [endpoint_at(url, self._settings) if isinstance(url, str) else url for url in given]
        self._pool = EndpointPool(endpoints, self._settings)
        self._model = model
        self._prompt = prompt
        self._context_tokens = context_tokens
        self.name = f"{model} at {','.join(endpoint.url for endpoint in endpoints)}"
        """Model and URLs."""
        self._tokenizer = TokenizerCodec(load_tokenizer(tokenizer)) if isinstance(tokenizer, str) else tokenizer
        self.codec = None if self._settings.text_only else self._tokenizer
        """The tokenizer, where ids go in and out."""
        self._prompt_end = self._framed(_PROBE).rpartition(_PROBE)[2]
        self._streams = False
        self._gave_ids = False

    @property
    def prompt(self) -> str:
        """Name of the prompt in use, for results."""
        return self._prompt

    def render(self, question: str) -> Prefix:
        """Returns the prompt for a problem text."""
        text = self._framed(question)
        if self.codec is None:
            return Prefix(text=text)
        ids = self.codec.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Prefix(text=text, token_ids=tuple(ids))

    def _framed(self, question: str) -> str:
        message = user_message(self._prompt, question)
        return chatml(message) if self._tokenizer is None else chat(self._tokenizer.tokenizer, message)

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        """Continues `prefix` on its server.

        Raises:
            InputError: A server refuses the key, knows no such model, or gives no token ids although it is asked to.
            InfrastructureError: The request is refused or keeps failing, or no server can be reached.
        """
        if self._context_tokens is not None and prefix.token_ids is not None:
            max_tokens = min(max_tokens, self._context_tokens - len(prefix.token_ids))
            if max_tokens <= 0:
                return Completion(text="", token_ids=(), stop=CompletionStop.LENGTH)
        if (codec := self.codec) is not None:
            body = self._encoded(prefix, stop, max_tokens, sampling)
            logprobs = self._logprobs_wanted(sampling)

            async def ids(client: openai.AsyncOpenAI) -> Completion:
                answer = await self._with_ids(client, body)
                return completion_of_ids(answer, codec, stop, max_tokens, logprobs=logprobs)

            return await self._send(ids, prefix, sampling)
        completion = None
        if not self._streams:
            body = self._encoded(prefix, stop, max_tokens, sampling)
            completion = await self._send(lambda client: self._text(client, body, stop), prefix, sampling)
        if completion is None:
            body = self._encoded_stream(prefix, max_tokens, sampling)
            completion = await self._send(lambda client: _streamed(client, body, stop), prefix, sampling)
            self._streams = True
        return completion

    async def _send(self, call: Call[T], prefix: Prefix, sampling: Sampling) -> T:
        end = prefix.text.find(self._prompt_end) if self._prompt_end else -1
        problem = hash(prefix.text[: end if end >= 0 else 4000])
        return await self._pool.send(call, self._model, problem=problem, rollout=sampling.seed)

    def _encoded(self, prefix: Prefix, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> bytes:
        """Returns the body of a request; the client would walk its token ids one by one."""
        request = self._sampling(prefix, max_tokens, sampling) | _EXTRAS
        request |= {"top_k": sampling.top_k or -1, "min_p": sampling.min_p, "stop": list(stop)}
        if self.codec is not None:
            request |= {"prompt": prefix.token_ids or (), "return_token_ids": True, "skip_special_tokens": False}
            if self._logprobs_wanted(sampling):
                request["logprobs"] = 0
        return json.dumps(request).encode()

    def _logprobs_wanted(self, sampling: Sampling) -> bool:
        """Whether log-probabilities would be those of the distribution that is drawn from."""
        return sampling.temperature == 1 or (sampling.temperature > 0 and self._settings.sampled_logprobs)

    def _encoded_stream(self, prefix: Prefix, max_tokens: int, sampling: Sampling) -> bytes:
        """Returns the body of a request that any server understands, unless the sampling asks for more."""
        request = self._sampling(prefix, max_tokens, sampling) | {"stream": True}
        asked = {"top_k": sampling.top_k, "min_p": sampling.min_p}
        return json.dumps(request | {name: value for name, value in asked.items() if value}).encode()

    def _sampling(self, prefix: Prefix, max_tokens: int, sampling: Sampling) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self._model, "max_tokens": max_tokens}
        request |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if self.codec is None:
            request["prompt"] = prefix.text
        if sampling.seed is not None:
            # Each call of a rollout draws from its own stream.
            request["seed"] = (sampling.seed * 1_000_003 + len(prefix.text)) % 2**31
        return request

    async def _with_ids(self, client: openai.AsyncOpenAI, body: bytes) -> Answer:
        answer = read_answer(await _posted(client, body))
        if answer.choices[0].token_ids is None:
            if self._gave_ids:
                raise AttemptError("the answer has no token ids")
            raise InputError(
                f"{client.base_url} returns no token ids: use a server with return_token_ids (vLLM, SGLang), "
                "or text: --text"
            )
        self._gave_ids = True
        return answer

    async def _text(self, client: openai.AsyncOpenAI, body: bytes, stop: Sequence[str]) -> Completion | None:
        """Asks for a text at once; None when the server cannot say what ended it."""
        try:
            answer = read_answer(await _posted(client, body))
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            return None  # strict servers refuse fields they don't know
        completion = completion_of_text(answer, stop)
        if completion is not None and completion.tokens is None and self._tokenizer is not None:
            counted = len(self._tokenizer.encode(completion.text))
            return completion.model_copy(update={"tokens": counted})
        return completion

    @property
    def lost(self) -> bool:
        """Whether a server was given up since `restore`, so that what failed may be asked again."""
        return self._pool.lost

    def restore(self) -> None:
        """Takes all servers for well: someone has seen to those that were given up."""
        self._pool.restore()

    async def close(self) -> None:
        """Closes the connections."""
        await self._pool.close()


def endpoint_at(url: str, settings: ServerSettings) -> Endpoint:
    """Returns the endpoint of a Reasoner's server; "/v1" is added to a bare host.

    Raises:
        InputError: URL or key cannot be used.
    """
    return Endpoint(api_of(url), settings, source=SOURCE, key_variable=KEY_VARIABLE)


def api_of(url: str) -> str:
    """Returns the base URL of an API: "/v1" is added to a bare host."""
    bare = url.strip().rstrip("/")
    return f"{bare}/v1" if bare.count("/") == 2 else bare


async def _posted(client: openai.AsyncOpenAI, body: bytes) -> bytes:
    response = await client.post("/completions", content=body, cast_to=httpx2.Response)
    return response.content


async def _streamed(client: openai.AsyncOpenAI, body: bytes, stop: Sequence[str]) -> Completion:
    """Reads a completion as it is written and breaks off behind a stop string: works with any server."""
    text, finish, tokens = "", None, 0
    stream = await client.post(
        "/completions", content=body, cast_to=object, stream=True, stream_cls=openai.AsyncStream[object]
    )
    async with stream as pieces:
        async for data in pieces:
            piece = Piece.model_validate(data)
            if not piece.choices:
                continue
            tokens += 1
            text += piece.choices[0].text
            ends = [text.index(s) + len(s) for s in stop if s in text]
            if ends:
                return Completion(text=text[: min(ends)], stop=CompletionStop.STOP_STRING, tokens=tokens)
            finish = piece.choices[0].finish_reason or finish
    if finish not in ("stop", "length"):
        raise AttemptError(f"the stream was not finished: finish_reason is {finish!r}")
    reason = CompletionStop.LENGTH if finish == "length" else CompletionStop.END_OF_TURN
    return Completion(text=text, stop=reason, tokens=tokens)
