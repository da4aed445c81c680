from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from calmstorm.errors import CalmstormError, InfrastructureError, InputError
from calmstorm.intervener.llm import LlmAnnotator
from calmstorm.reasoner.protocol import Prefix, Sampling
from calmstorm.reasoner.server import ServerReasoner
from calmstorm.settings import IntervenerSettings, ServerSettings
from tests.intervener.chat_server import ChatServer


async def ask_server(url: str) -> None:
    reasoner = ServerReasoner(url, "m", settings=ServerSettings(retries=0))
    try:
        await reasoner.generate(Prefix(text="?"), stop=(), max_tokens=9, sampling=Sampling())
    finally:
        await reasoner.close()


async def ask_reviewer(url: str) -> None:
    annotator = LlmAnnotator(IntervenerSettings(model="m", retries=0), url)
    try:
        await annotator.annotate("?", "!")
    finally:
        await annotator.close()


def server(url: str) -> ServerReasoner:
    return ServerReasoner(url, "m")


def reviewer(url: str) -> LlmAnnotator:
    return LlmAnnotator(base_url=url)


MAKERS = pytest.mark.parametrize("make", [server, reviewer])
ASKERS = pytest.mark.parametrize(
    ("ask", "variable"), [(ask_server, "CALM_API_KEY"), (ask_reviewer, "CALM_INTERVENER_KEY")]
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CALM_API_KEY", "CALM_INTERVENER_KEY", "CALM_INTERVENER_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500])
@ASKERS
def test_the_key_comes_from_the_environment_and_shows_up_in_no_error(
    monkeypatch: pytest.MonkeyPatch, ask: Callable, variable: str, status: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-second")
    monkeypatch.setenv(variable, "sk-first")
    with ChatServer([status]) as echo, pytest.raises(CalmstormError) as caught:
        asyncio.run(ask(echo.url))
    assert set(echo.keys) == {"Bearer sk-first"}
    # A reviewer tries a short request too before it says that the server takes none.
    ours = (401, 403, 404) if ask is ask_server else (400, 401, 403, 404, 422)
    assert isinstance(caught.value, InputError if status in ours else InfrastructureError)
    assert "sk-first" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__  # nor in a traceback


@ASKERS
def test_the_common_key_is_taken_where_there_is_no_own(
    monkeypatch: pytest.MonkeyPatch, ask: Callable, variable: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-second\n")
    with ChatServer([401]) as echo, pytest.raises(InputError, match=f"refuses the API key: set {variable}"):
        asyncio.run(ask(echo.url))
    assert echo.keys == ["Bearer sk-second"]


@ASKERS
def test_no_proxy_sees_the_key_of_a_server_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, ask: Callable, variable: str
) -> None:
    monkeypatch.setenv(variable, "sk")
    with ChatServer([401]) as echo, ChatServer([500]) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(InputError):
            asyncio.run(ask(echo.url))
    assert proxy.keys == []


@pytest.mark.parametrize("url", ["http://models.example/v1", "http://127.0.0.1.example/v1", "http://10.0.0.7:8000"])
@MAKERS
def test_a_key_is_not_sent_over_plain_http_to_another_machine(
    monkeypatch: pytest.MonkeyPatch, make: Callable, url: str
) -> None:
    make(url)  # without a key there is nothing to be read
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first")
    with pytest.raises(InputError, match="use https, or unset OPENAI_API_KEY") as caught:
        make(url)
    assert "sk-first" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://models.example/v1", "http://localhost:1/v1", "http://[::1]:1/v1", "http://127.0.0.9/"]
)
@MAKERS
def test_a_key_goes_over_https_or_to_this_machine(monkeypatch: pytest.MonkeyPatch, make: Callable, url: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    assert make(url).name


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://models.example",
        "models.example/v1",
        "https://",
        "https://[::1/v1",
        "https://models.example:port/v1",
        "https://me:secret@models.example",
        "https://me:se/secret@models.example",
    ],
)
@MAKERS
def test_an_address_that_is_no_url_or_holds_a_password_is_refused(make: Callable, url: str) -> None:
    with pytest.raises(InputError, match="must begin with http:// or https:// and hold no password") as caught:
        make(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("key", ["sk-\xe9", "sk-a\nb"])
@MAKERS
def test_a_key_that_no_header_can_carry_is_refused(monkeypatch: pytest.MonkeyPatch, make: Callable, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="OPENAI_API_KEY holds characters") as caught:
        make("https://models.example/v1")
    assert key not in str(caught.value)
