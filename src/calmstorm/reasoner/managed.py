"""Servers that a run starts itself: one process per GPU, each in its own process group, ended with the Reasoner.

The command comes from `server.command`; no shell sees it. What the servers print goes into a log file.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from calmstorm.endpoint.address import COMMON_KEY_VARIABLE
from calmstorm.errors import InfrastructureError, InputError
from calmstorm.progress import note, track
from calmstorm.reasoner.codec import check_source
from calmstorm.reasoner.opening import OpenedReasoner, open_reasoner
from calmstorm.reasoner.prompting import prompt_of_model
from calmstorm.reasoner.protocol import Completion, Prefix, Reasoner, Sampling, TokenCodec
from calmstorm.reasoner.server import KEY_VARIABLE, endpoint_at
from calmstorm.settings import ServerSettings

_SECRETS = frozenset({KEY_VARIABLE, "CALM_INTERVENER_KEY", COMMON_KEY_VARIABLE})
"""Variables that a server of ours has no use for."""
_GPUS = "CUDA_VISIBLE_DEVICES"
_POLL_SECONDS = 0.5
_END_SECONDS = 15.0
"""How long servers may take to end before they are killed."""
_PR_SET_PDEATHSIG = 1


def open_served(
    model: str | Path, settings: ServerSettings, *, log: Path, tokenizer: str | None, prompt: str | None
) -> OpenedReasoner:
    """Starts the servers of a model, waits until they answer, and opens a Reasoner on them that ends them when closed.

    Args:
        model: Model directory or hub id.
        settings: The command that starts a server, how many, how long they may take, and how they are asked.
        log: File for what the server prints, written anew; with several, `<name>-1.log`, `<name>-2.log` and so on.
        tokenizer: Directory or hub id of the tokenizer; None means the model's.
        prompt: Name of a prompt; None means what a model directory asks for, else the default.

    Raises:
        InputError: There is no command or no such model, or there are too few GPUs.
        InfrastructureError: A server ends or does not answer in time.
    """
    source = check_source(model)
    if not settings.command:
        raise InputError("server.command is empty; it must start a server of {model} at {port}: set server.command")
    servers: list[_Server] = []
    try:
        for index in range(settings.instances):
            servers.append(_start(source, settings, index, _log_of(log, index, settings)))
        _wait(servers, settings)
        opened = open_reasoner(
            ",".join(server.url for server in servers),
            tokenizer=tokenizer or source,
            prompt=prompt or prompt_of_model(Path(source)),
            server=settings,
        )
    except BaseException:
        _end(servers)
        raise
    return opened._replace(reasoner=ServedReasoner(opened.reasoner, servers))


class _Server:
    """A process that serves a model."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process, self.url, self.log = process, url, log

    def last_line(self) -> str:
        """Returns the last line that says something."""
        with self.log.open("rb") as lines:
            lines.seek(max(0, self.log.stat().st_size - 4096))
            text = lines.read().decode(errors="replace")
        return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")

    def signal(self, number: int) -> None:
        """Sends a signal to the whole process group."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class ServedReasoner:
    """A Reasoner on servers that end with it."""

    def __init__(self, reasoner: Reasoner, servers: Sequence[_Server]) -> None:
        """Takes a Reasoner and the servers behind it."""
        self._reasoner, self._servers = reasoner, servers

    @property
    def name(self) -> str:
        """Model and URLs."""
        return self._reasoner.name

    @property
    def codec(self) -> TokenCodec | None:
        """The tokenizer, where ids go in and out."""
        return self._reasoner.codec

    def render(self, question: str) -> Prefix:
        """Returns the prompt for a problem text."""
        return self._reasoner.render(question)

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        """Continues `prefix`; see `ServerReasoner.generate`."""
        return await self._reasoner.generate(prefix, stop=stop, max_tokens=max_tokens, sampling=sampling)

    async def close(self) -> None:
        """Closes the connections and ends the servers."""
        try:
            await self._reasoner.close()
        finally:
            await asyncio.to_thread(_end, self._servers)


def _start(source: str, settings: ServerSettings, index: int, log: Path) -> _Server:
    port = _free_port()
    words = [word.replace("{model}", source).replace("{port}", str(port)) for word in settings.command]
    environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    if settings.instances > 1:
        environment[_GPUS] = _gpu(environment, index, settings.instances)
    log.parent.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None)

    def end_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # also when we are killed: a GPU would stay taken

    try:
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  the user's own command
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{words[0]} cannot be started ({reason}): install it, or correct server.command") from None
    return _Server(process, f"http://127.0.0.1:{port}/v1", log)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _gpu(environment: Mapping[str, str], index: int, instances: int) -> str:
    """Returns the GPU of an instance: one of those that this process may use, where it is told which."""
    allowed = [name.strip() for name in environment.get(_GPUS, "").split(",") if name.strip()]
    if not allowed:
        return str(index)
    if len(allowed) < instances:
        raise InputError(
            f"server.instances is {instances}, but {_GPUS} names {len(allowed)} GPUs; each server takes one: lower it"
        )
    return allowed[index]


def _log_of(log: Path, index: int, settings: ServerSettings) -> Path:
    return log if settings.instances == 1 else log.with_name(f"{log.stem}-{index + 1}{log.suffix}")


def _wait(servers: Sequence[_Server], settings: ServerSettings) -> None:
    """Waits until all servers answer.

    Raises:
        InfrastructureError: One ends, or time is up.
    """
    began = time.monotonic()
    note(f"starting {len(servers)} server{'s' if len(servers) > 1 else ''}; output in {servers[0].log}")
    waiting = list(servers)
    with track("start servers", len(servers)) as advance:
        while waiting:
            for server in list(waiting):
                if (status := server.process.poll()) is not None:
                    raise InfrastructureError(
                        f"a server ended with status {status} before it answered: {server.last_line()} ({server.log})"
                    )
                if _answers(server, settings):
                    waiting.remove(server)
                    advance("")
            if waiting and time.monotonic() - began > settings.start_seconds:
                raise InfrastructureError(
                    f"a server did not answer within {settings.start_seconds:g} seconds: {waiting[0].last_line()} "
                    f"({waiting[0].log}); raise server.start_seconds if it was still loading"
                )
            if waiting:
                time.sleep(_POLL_SECONDS)


def _answers(server: _Server, settings: ServerSettings) -> bool:
    try:
        return bool(endpoint_at(server.url, settings).served())
    except InfrastructureError:
        return False


def _end(servers: Sequence[_Server]) -> None:
    """Ends process groups: asks them to, then kills what is left."""
    for server in servers:
        server.signal(signal.SIGTERM)
    deadline = time.monotonic() + _END_SECONDS
    for server in servers:
        with suppress(subprocess.TimeoutExpired):
            server.process.wait(max(0.0, deadline - time.monotonic()))
        server.signal(signal.SIGKILL)  # also what it started and left behind
        server.process.wait()
