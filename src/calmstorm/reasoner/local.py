"""A Qwen3 model in this process, on CPU or GPU, behind the `Reasoner` protocol."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from calmstorm.errors import CalmstormError, InputError, MissingExtraError
from calmstorm.reasoner.codec import TokenizerCodec, load_tokenizer
from calmstorm.reasoner.prompting import chat, prompt_of_model, user_message
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling
from calmstorm.reasoner.weights import model_directory
from calmstorm.settings import LocalSettings

try:
    import torch
    from transformers import Qwen3ForCausalLM

    from calmstorm.reasoner.engine.memory import GIB, cache_bounds, device_of, free_gpu_bytes
    from calmstorm.reasoner.engine.qwen3 import Qwen3Runner
    from calmstorm.reasoner.engine.requests import EngineCounts, Request, RequestOutput
    from calmstorm.reasoner.engine.sampler import stream_key
    from calmstorm.reasoner.engine.scheduler import EngineSettings, Scheduler
except ImportError as error:  # pragma: no cover - exercised by an install without extras
    raise MissingExtraError(error.name or "torch", "pocket") from error

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LocalReasoner:
    """Decodes all concurrent `generate` calls together, and keeps their caches between calls.

    Lifecycle: the engine's thread starts with the first `generate` and ends with `close`. Concurrency: `generate` may
    be awaited by any number of tasks; `max_sequences` of them decode at once, the others wait their turn.
    """

    def __init__(
        self, model: str | Path, *, prompt: str | None = None, local: LocalSettings | None = None, shared: bool = False
    ) -> None:
        """Loads a model.

        Args:
            model: A Hugging Face directory or hub id of a Qwen3 model.
            prompt: Name of a prompt; by default what the model's `calmstorm.json` says, else "paper-1".
            local: Device, type of the weights, memory; by default a recipe's defaults.
            shared: The model is to be trained too, so the cache leaves room on a GPU.

        Raises:
            InputError: There is no such model, it is not one the engine runs, or it does not fit into memory.
        """
        local = local or LocalSettings()
        device = device_of(local.device)
        dtype = local.dtype if local.dtype != "auto" else "float32" if device.type == "cpu" else "bfloat16"
        directory = model_directory(model)
        tokenizer = load_tokenizer(str(directory))
        loaded = _load(directory, str(model), device, getattr(torch, dtype))
        bounds = cache_bounds(device, local.cache_gib, alone=not shared)
        settings = EngineSettings(local.sequences, bounds.usual, bounds.most)
        self._set_up(loaded, tokenizer, prompt or prompt_of_model(directory), str(model), settings)

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
        self._set_up(model, tokenizer, prompt, name, settings)
        return self

    def _set_up(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: str,
        name: str,
        settings: EngineSettings | None,
    ) -> None:
        user_message(prompt, "")  # an unknown prompt is an error now, not at the first problem
        self.model = model
        self.name = name
        """The directory or hub id."""
        self.prompt = prompt
        """Name of the prompt in use, for results."""
        self.codec = TokenizerCodec(tokenizer)
        """The model's tokenizer."""
        self.end_of_turn = _end_of_turn(model, tokenizer)
        """Ids that end a turn."""
        self._runner = Qwen3Runner(model)
        self._scheduler = Scheduler(self._runner, self.codec.decode, self.end_of_turn, settings or EngineSettings())

    @property
    def context_tokens(self) -> int:
        """Positions of the model: prompt and response together at most."""
        return self._runner.max_positions

    @property
    def counts(self) -> EngineCounts:
        """What the engine has done so far."""
        return self._scheduler.counts

    def render(self, question: str) -> Prefix:
        """Returns the prompt for a problem text."""
        text = chat(self.codec.tokenizer, user_message(self.prompt, question))
        ids = self.codec.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Prefix(text=text, token_ids=tuple(ids))

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        """Continues `prefix` in the running batch.

        Raises:
            InputError: The prefix has no tokens, or it and `max_tokens` exceed what model and memory allow.
            InfrastructureError: The engine failed.
        """
        ids = self._check(prefix, max_tokens)
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RequestOutput] = loop.create_future()

        def deliver(result: RequestOutput | CalmstormError) -> None:
            loop.call_soon_threadsafe(_resolve, future, result)

        request = Request(ids, tuple(stop), max_tokens, sampling, stream_key(seed, ids), deliver)
        self._scheduler.submit(request)
        try:
            output = await future
        except asyncio.CancelledError:
            request.cancelled = True
            raise
        ended = output.stop is CompletionStop.END_OF_TURN
        return Completion(
            text=self.codec.decode(output.token_ids[:-1] if ended else output.token_ids),
            token_ids=tuple(output.token_ids),
            logprobs=tuple(output.logprobs),
            stop=output.stop,
        )

    def _check(self, prefix: Prefix, max_tokens: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        if not prefix.token_ids:
            raise InputError("the prefix has no token ids; a local model needs them: use render() and codec.encode()")
        total, positions = len(prefix.token_ids) + max_tokens, self._runner.max_positions
        if max_tokens < 1 or total > positions:
            raise InputError(
                f"prefix of {len(prefix.token_ids)} tokens and max_tokens {max_tokens} make {total}; max_tokens must "
                f"be >= 1 and the sum <= {positions}, the model's positions: lower response_tokens"
            )
        if total > self._scheduler.max_length:
            raise InputError(self._too_long(total))
        return np.array(prefix.token_ids, np.int32)

    def _too_long(self, tokens: int) -> str:
        scheduler = self._scheduler
        needed = (tokens + 1) * scheduler.bytes_per_position / GIB
        halved = "local.dtype bfloat16, " if self.model.dtype == torch.float32 else ""
        return (
            f"{tokens} tokens of prompt and response need {needed:.3g} GiB of cache ({scheduler.bytes_per_position} "
            f"bytes a token), and {scheduler.memory / GIB:.3g} GiB are allowed, enough for {scheduler.max_length}: set "
            f"local.cache_gib higher where there is memory, {halved}a lower response_tokens, or use a server"
        )

    def reset_cache(self) -> None:
        """Drops all cached keys and values. Must be called after the model's weights changed."""
        self._scheduler.reset_cache()

    def save(self, directory: Path) -> Path:
        """Writes model, tokenizer, chat template and generation config."""
        self.model.save_pretrained(directory)
        self.codec.tokenizer.save_pretrained(directory)
        return directory

    async def close(self) -> None:
        """Stops the engine and frees its cache."""
        await asyncio.to_thread(self._scheduler.close)


def _load(directory: Path, name: str, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    try:
        loaded: PreTrainedModel = Qwen3ForCausalLM.from_pretrained(directory, dtype=dtype)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{name} cannot be loaded as a Qwen3 model ({reason}): check its files") from error
    try:
        torch.nn.Module.to(loaded, device)
    except torch.OutOfMemoryError as error:
        size, free = loaded.get_memory_footprint() / GIB, free_gpu_bytes(device) / GIB
        raise InputError(
            f"{name} takes {size:.1f} GiB as {dtype}, and {free:.1f} GiB are free on {device}: set local.dtype "
            "bfloat16, take a smaller model, or use a server"
        ) from error
    return loaded


def _resolve(future: asyncio.Future[RequestOutput], result: RequestOutput | CalmstormError) -> None:
    if future.done():  # cancelled meanwhile
        return
    if isinstance(result, CalmstormError):
        future.set_exception(result)
    else:
        future.set_result(result)


def _end_of_turn(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Returns the end-of-turn ids of the tokenizer and the generation settings together."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    named = {tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
    ids = frozenset(int(token) for token in named if token is not None)
    if not ids:
        raise InputError("neither tokenizer nor model names an end-of-turn token: set eos_token in the tokenizer")
    return ids
