"""A Qwen3 model in this process, on CPU or GPU, behind the `Reasoner` protocol."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from calmstorm.errors import CalmstormError, InputError, MissingExtraError
from calmstorm.reasoner.codec import TokenizerCodec, check_source, load_tokenizer
from calmstorm.reasoner.prompting import chat, prompt_of_model, user_message
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling

try:
    import torch
    from transformers import Qwen3ForCausalLM

    from calmstorm.reasoner.drawing import stream_key
    from calmstorm.reasoner.engine import Drawn, Engine, EngineCounts, EngineSettings, Request
    from calmstorm.reasoner.qwen import QwenStepper
except ImportError as error:  # pragma: no cover - exercised by an install without extras
    raise MissingExtraError(error.name or "torch", "pocket") from error

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LocalReasoner:
    """Decodes all concurrent `generate` calls together, and keeps their caches between calls.

    Lifecycle: the engine's thread starts with the first `generate` and ends with `close`. Concurrency: `generate` may
    be awaited by any number of tasks; `max_rows` of them decode at once, the others wait their turn.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        prompt: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        settings: EngineSettings | None = None,
    ) -> None:
        """Loads a model.

        Args:
            model: a Hugging Face directory or hub id of a Qwen3 model.
            prompt: name of a prompt; by default what the directory's `calmstorm.json` says, else "calm-1".
            device: "cpu", "cuda", "cuda:1"; "auto" takes a GPU where there is one.
            dtype: "float32", "bfloat16"; "auto" is float32 on a CPU, bfloat16 on a GPU.
            settings: bounds of the engine.

        Raises:
            InputError: there is no such model, or it is not one the engine runs.
        """
        where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        kind = ("float32" if where.startswith("cpu") else "bfloat16") if dtype == "auto" else dtype
        if kind not in ("float32", "bfloat16"):
            raise InputError(f"dtype is {dtype!r}; it must be auto, float32 or bfloat16: set dtype")
        source = check_source(model)
        tokenizer = load_tokenizer(source)
        try:
            loaded = Qwen3ForCausalLM.from_pretrained(source, dtype=getattr(torch, kind))
            torch.nn.Module.to(loaded, where)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{model} cannot be loaded as a Qwen3 model ({reason}): check the path or name") from error
        chosen = prompt or prompt_of_model(Path(source))
        self._setup(loaded, tokenizer, chosen, str(model), settings or EngineSettings())

    @classmethod
    def from_model(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prompt: str,
        name: str = "in-memory model",
        settings: EngineSettings | None = None,
    ) -> Self:
        """Wraps a model that is already in memory, which the caller may go on training between rollouts.

        Call `reset_cache` whenever its weights have changed. The model is not copied, moved or reconfigured.
        """
        self = cls.__new__(cls)
        self._setup(model, tokenizer, prompt, name, settings or EngineSettings())
        return self

    def _setup(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: str,
        name: str,
        settings: EngineSettings,
    ) -> None:
        self._model = model
        self._name = name
        self._prompt = prompt
        self._codec = TokenizerCodec(tokenizer)
        self._eos = _eos_ids(model, tokenizer)
        user_message(prompt, "")  # an unknown prompt is an error now, not at the first problem
        self._engine = Engine(QwenStepper(model), self._codec.decode, self._eos, settings)

    @property
    def name(self) -> str:
        """The directory or hub id."""
        return self._name

    @property
    def codec(self) -> TokenizerCodec:
        """The model's tokenizer."""
        return self._codec

    @property
    def prompt(self) -> str:
        """Name of the prompt in use, for results."""
        return self._prompt

    @property
    def counts(self) -> EngineCounts:
        """What the engine has done so far."""
        return self._engine.counts

    def render(self, question: str) -> Prefix:
        """Returns the prompt for a problem text."""
        text = chat(self._codec.tokenizer, user_message(self._prompt, question))
        ids = self._codec.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Prefix(text=text, token_ids=tuple(ids))

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        """Continues `prefix` in the running batch.

        Raises:
            InputError: the prefix has no tokens, or it and `max_tokens` exceed what model and memory allow.
            InfrastructureError: the engine failed.
        """
        ids = self._check(prefix, max_tokens)
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Drawn] = loop.create_future()

        def deliver(result: Drawn | CalmstormError) -> None:
            loop.call_soon_threadsafe(_resolve, future, result)

        key = stream_key(seed, ids)
        request = Request(ids, tuple(stop), max_tokens, sampling, key, deliver)
        self._engine.submit(request)
        try:
            drawn = await future
        except asyncio.CancelledError:
            request.cancelled = True
            raise
        ended = drawn.stop is CompletionStop.END_OF_TURN
        return Completion(
            text=self._codec.decode(drawn.token_ids[:-1] if ended else drawn.token_ids),
            token_ids=tuple(drawn.token_ids),
            logprobs=tuple(drawn.logprobs),
            stop=drawn.stop,
        )

    def _check(self, prefix: Prefix, max_tokens: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        if not prefix.token_ids:
            raise InputError("the prefix has no token ids; a local model needs them: use render() and codec.encode()")
        total = len(prefix.token_ids) + max_tokens
        if max_tokens < 1 or total > self._engine.max_length:
            rule = f"max_tokens must be >= 1 and the sum <= {self._engine.max_length} (model positions, cache memory)"
            raise InputError(
                f"prefix of {len(prefix.token_ids)} tokens and max_tokens {max_tokens} make {total}; {rule}: "
                "lower response_tokens"
            )
        return np.array(prefix.token_ids, np.int32)

    def reset_cache(self) -> None:
        """Drops all cached keys and values. Must be called after the model's weights changed."""
        self._engine.forget()

    def reload(self, weights: dict[str, Any] | str | Path) -> None:
        """Takes over weights of the same architecture, from a state dict or a model directory.

        Call it between rollouts: a row that is decoding meanwhile would see both.
        """
        if not isinstance(weights, dict):
            weights = Qwen3ForCausalLM.from_pretrained(check_source(weights)).state_dict()
        self._model.load_state_dict(weights)
        self.reset_cache()

    async def close(self) -> None:
        """Stops the engine and frees its cache."""
        await asyncio.to_thread(self._engine.close)


def _resolve(future: asyncio.Future[Drawn], result: Drawn | CalmstormError) -> None:
    if future.done():  # cancelled meanwhile
        return
    if isinstance(result, CalmstormError):
        future.set_exception(result)
    else:
        future.set_result(result)


def _eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """End-of-turn ids of the tokenizer and the generation settings together."""
    found = {tokenizer.eos_token_id}
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    found.update(configured if isinstance(configured, list) else [configured])
    ids = frozenset(int(i) for i in found if i is not None)
    if not ids:
        raise InputError("neither tokenizer nor model names an end-of-turn token: set eos_token in the tokenizer")
    return ids
