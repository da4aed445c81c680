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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

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
_LAUNCHER = frozenset(
    {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME"}
    | {"ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CROSS_RANK", "CROSS_SIZE"}
)
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
    gpus = own_gpus(settings.instances) if settings.instances > 1 else None
    servers = ServerProcesses(source, settings, log, instances=settings.instances, gpus=gpus)
    try:
        servers.start()
        for _ in servers.waiting():
            time.sleep(_POLL_SECONDS)
        opened = open_reasoner(
            ",".join(servers.urls),
            tokenizer=tokenizer or source,
            prompt=prompt or prompt_of_model(Path(source)),
            server=settings,
        )
    except BaseException:
        servers.end()
        raise
    return opened._replace(reasoner=ServedReasoner(opened.reasoner, servers))


class ServerProcesses:
    """Servers of one model, each a process group of its own at an address that stays; started again where they ended.

    Lifecycle: `start` and `waiting` to the end, any number of times; `end` once. `start` belongs into a thread that
    lives as long as the servers: they end with it.
    """

    _settings: ServerSettings

    def __init__(
        self,
        source: str,
        settings: ServerSettings,
        log: Path,
        *,
        instances: int,
        gpus: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Prepares servers; none is started yet.

        Args:
            source: Model directory or hub id.
            settings: The command that starts a server, how long they may take, and how they are asked.
            log: File for what the server prints; with several, `<name>-1.log`, `<name>-2.log` and so on.
            instances: How many there are.
            gpus: The GPU of each; None leaves to them what this process sees.
            environment: Variables that servers get beside those of this process.

        Raises:
            InputError: There is no command.
        """
        if not settings.command:
            raise InputError("server.command is empty; it must start a server of {model} at {port}: set server.command")
        self._source, self._settings = source, settings
        inherited = {name: value for name, value in os.environ.items() if name not in _SECRETS and not _launched(name)}
        self._environment = {**inherited, **(environment or {})}
        self._gpus = gpus
        self._servers = [_Server(free_port(), _log_of(log, index, instances)) for index in range(instances)]

    @property
    def urls(self) -> tuple[str, ...]:
        """Base URLs."""
        return tuple(server.url for server in self._servers)

    def start(self) -> None:
        """Starts those that do not run; they do not answer yet.

        Raises:
            InputError: The command cannot be started.
        """
        starting = [(index, server) for index, server in enumerate(self._servers) if not server.running]
        for index, server in starting:
            server.log.parent.mkdir(parents=True, exist_ok=True)
            if server.process is not None:
                note(f"{server.url} ended with status {server.status} ({server.last_line()}): starting it again")
                server.signal(signal.SIGKILL)  # also what it started and left behind
            gpu = {} if self._gpus is None else {_GPUS: self._gpus[index]}
            command = self._settings.command
            words = [word.replace("{model}", self._source).replace("{port}", str(server.port)) for word in command]
            with server.log.open("wb" if server.process is None else "ab") as output:
                server.process = _started(words, {**self._environment, **gpu}, output)
        if starting:
            count = f"{len(starting)} server{'s' if len(starting) > 1 else ''}"
            note(f"starting {count}; output in {starting[0][1].log}")

    def waiting(self) -> Iterator[None]:
        """Yields for as long as a server does not answer; the caller pauses each time.

        Raises:
            InfrastructureError: One ends, or time is up.
        """
        began = time.monotonic()
        waiting = list(self._servers)
        with track("start servers", len(waiting)) as advance:
            while waiting:
                for server in list(waiting):
                    if not server.running:
                        raise InfrastructureError(
                            f"a server ended with status {server.status} before it answered: {server.last_line()} "
                            f"({server.log})"
                        )
                    if _answers(server, self._settings):
                        waiting.remove(server)
                        advance("")
                if waiting and time.monotonic() - began > self._settings.start_seconds:
                    raise InfrastructureError(
                        f"a server did not answer within {self._settings.start_seconds:g} seconds: "
                        f"{waiting[0].last_line()} ({waiting[0].log}); raise server.start_seconds if it was still "
                        "loading"
                    )
                if waiting:
                    yield

    def end(self) -> None:
        """Ends process groups: asks them to, then kills what is left."""
        started = [server for server in self._servers if server.process is not None]
        for server in started:
            server.signal(signal.SIGTERM)
        deadline = time.monotonic() + _END_SECONDS
        for server in started:
            server.finish(max(0.0, deadline - time.monotonic()))


class _Server:
    """A place of a server: its port, its log, and the process that is there now."""

    def __init__(self, port: int, log: Path) -> None:
        self.port, self.log = port, log
        self.url = f"http://127.0.0.1:{port}/v1"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self.process is not None and self.process.poll() is None

    @property
    def status(self) -> int | None:
        """Exit status of the process that was there."""
        return None if self.process is None else self.process.poll()

    def last_line(self) -> str:
        """Returns the last line that says something."""
        with self.log.open("rb") as lines:
            lines.seek(max(0, self.log.stat().st_size - 4096))
            text = lines.read().decode(errors="replace")
        return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")

    def signal(self, number: int) -> None:
        """Sends a signal to the whole process group."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def finish(self, seconds: float) -> None:
        """Waits for the end of the process, and kills what is left of its group then."""
        if self.process is not None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
            self.signal(signal.SIGKILL)  # also what it started and left behind
            self.process.wait()


class ServedReasoner:
    """A Reasoner on servers that end with it."""

    def __init__(self, reasoner: Reasoner, servers: ServerProcesses) -> None:
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
            await asyncio.to_thread(self._servers.end)


def _started(words: Sequence[str], environment: Mapping[str, str], output: BinaryIO) -> subprocess.Popen[bytes]:
    libc = ctypes.CDLL(None)

    def end_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # also when we are killed: a GPU would stay taken

    try:
        return subprocess.Popen(  # noqa: S603  the user's own command
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


def _launched(name: str) -> bool:
    """Whether a variable says to a process of a training which one it is; a server would take it for itself."""
    return name in _LAUNCHER or name.startswith(("TORCHELASTIC_", "ACCELERATE_", "FSDP_"))


def free_port() -> int:
    """Returns a port of this machine that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def own_gpus(instances: int, taken: int = 0) -> list[str]:
    """Returns the GPU of each server: those behind the first `taken`, of what this process may use where it is told.

    Raises:
        InputError: It may use fewer.
    """
    allowed = [name.strip() for name in os.environ.get(_GPUS, "").split(",") if name.strip()]
    if not allowed:
        return [str(taken + index) for index in range(instances)]
    if len(allowed) < taken + instances:
        behind = f" behind the {taken} that train" if taken else ""
        raise InputError(
            f"{instances} servers take a GPU each{behind}, but {_GPUS} names {len(allowed)} GPUs: start fewer servers"
        )
    return allowed[taken : taken + instances]


def _log_of(log: Path, index: int, instances: int) -> Path:
    return log if instances == 1 else log.with_name(f"{log.stem}-{index + 1}{log.suffix}")


def _answers(server: _Server, settings: ServerSettings) -> bool:
    try:
        return bool(endpoint_at(server.url, settings).served())
    except InfrastructureError:
        return False
