"""Probes of servers for `calm doctor`: are they there, what do they serve, is the key right, do token ids come back?

Each server is asked for its models and for one token, once, within seconds; nothing is tried again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from typing import Any

import openai

from calmstorm.commands.doctor import Check
from calmstorm.endpoint import Endpoint
from calmstorm.errors import CalmstormError, InputError
from calmstorm.intervener.llm.chat import KEY_VARIABLE, URL_VARIABLE
from calmstorm.reasoner.server import endpoint_at
from calmstorm.settings import IntervenerSettings, ServerSettings

_ONCE = ServerSettings(timeout_seconds=60, connect_seconds=5, retries=0, concurrency=1)
REASONER_KEY = "CALM_API_KEY"
_START = "start it (vllm serve MODEL --port N), or correct the address"


def probe_reasoner(
    urls: Sequence[str], model: str | None, *, text_only: bool = False, training: bool = False
) -> Iterator[Check]:
    """Yields what works of each server of a Reasoner.

    Args:
        urls: Base URLs.
        model: The model's name there; None takes the first that a server lists.
        text_only: Text goes in and out, so that token ids need not come back.
        training: Reinforcement draws its rollouts there, so that it has to take weights.
    """
    for url in urls:
        name = f"server {url.rpartition('@')[2]}"
        try:
            endpoint = endpoint_at(url, _ONCE)
        except InputError as error:
            yield Check(name, False, True, str(error))
            continue
        yield from asyncio.run(_closing(endpoint, _reasoner(endpoint, name, model, text_only, training)))


def probe_intervener(settings: IntervenerSettings, required: bool) -> Iterator[Check]:
    """Yields whether the reviewing model answers.

    Args:
        settings: Which model, and its sampling.
        required: Whether a recipe needs it.
    """
    url = os.environ.get(URL_VARIABLE, "")
    if not url:
        remedy = f"export {URL_VARIABLE} (base URL of an OpenAI-compatible API) and {KEY_VARIABLE}"
        yield Check("Intervener", False, required, f"{URL_VARIABLE} is not set", remedy)
        return
    try:
        endpoint = Endpoint(url, _ONCE, source=URL_VARIABLE, key_variable=KEY_VARIABLE)
    except InputError as error:
        yield Check("Intervener", False, required, str(error))
        return
    yield from asyncio.run(_closing(endpoint, _intervener(endpoint, settings, required)))


async def _closing(endpoint: Endpoint, probe: Any) -> list[Check]:  # noqa: ANN401  an iterator of either probe
    try:
        return [check async for check in probe]
    finally:
        await endpoint.close()


async def _reasoner(endpoint: Endpoint, name: str, model: str | None, text_only: bool, training: bool) -> Any:  # noqa: ANN401
    try:
        async with endpoint.request(model or "models") as client:
            served = [item.id for item in (await client.models.list()).data]
    except CalmstormError as error:
        yield Check(name, False, True, str(error), _remedy(error, REASONER_KEY, _START))
        return
    listed = ", ".join(served[:5]) or "no model"
    known = bool(served) and (model is None or model in served)
    yield Check(name, known, True, f"answers, serves {listed}", f"{model} is not among them: name one with --model")
    if not known:
        return
    asked = model or served[0]
    try:
        async with endpoint.request(asked) as client:
            answer = await client.completions.create(
                model=asked, prompt="1", max_tokens=1, extra_body={"return_token_ids": True}
            )
    except CalmstormError as error:
        yield Check(f"{name}, completions", False, True, str(error), _remedy(error, REASONER_KEY, _START))
        return
    ids = getattr(answer.choices[0], "token_ids", None) if getattr(answer, "choices", None) else None
    yield Check(
        f"{name}, token ids",
        bool(ids),
        not text_only,
        "come back" if ids else "do not come back",
        "serve the model with vLLM or SGLang, or go on in text with --set server.text_only=true (no training)",
    )
    takes = await endpoint.status_of("/is_paused") == 200  # a page that vLLM has where it takes weights
    yield Check(
        f"{name}, weight sync",
        takes,
        training,
        "takes the weights in training" if takes else "takes no weights",
        "start vLLM with VLLM_SERVER_DEV_MODE=1 in its environment; only reinforcement asks for it (rl.servers)",
    )


async def _intervener(endpoint: Endpoint, settings: IntervenerSettings, required: bool) -> Any:  # noqa: ANN401
    given = {"temperature": settings.temperature, "top_p": settings.top_p}
    sampling: dict[str, Any] = {key: value for key, value in given.items() if value != "default"}
    try:
        async with endpoint.request(settings.model) as client:
            await client.chat.completions.create(
                model=settings.model, messages=[{"role": "user", "content": "Say 1."}], max_tokens=1, **sampling
            )
    except CalmstormError as error:
        remedy = f"correct {URL_VARIABLE}, or check the network"
        if isinstance(error, InputError):
            remedy = "set intervener.model; where a value is refused, intervener.temperature or top_p = 'default'"
        yield Check("Intervener", False, required, str(error), _remedy(error, KEY_VARIABLE, remedy))
        return
    yield Check("Intervener", True, required, f"{settings.model} answers at {endpoint.url}")


def _remedy(error: Exception, key: str, otherwise: str) -> str:
    """Returns what to do: about the key where that is refused."""
    if not isinstance(error.__context__, openai.AuthenticationError | openai.PermissionDeniedError):
        return otherwise
    return f"{key} is {'refused: set another' if os.environ.get(key) else 'not set: export it'}"
