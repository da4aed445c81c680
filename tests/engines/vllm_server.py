"""A real vLLM server on this machine, for tests: started, watched, measured and killed.

vLLM lives in a virtual environment of its own (`make vllm`), whose Python CALM_VLLM_PYTHON may name.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_START_SECONDS = 300.0
VARIABLES = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_SERVER_DEV_MODE": "1",
}
"""What a server on a CPU has in its environment; the last lets it take weights."""
_SERVED_NAME = "pocket"
# Chunked prefill stays off: a CPU generator has no offset, which seeded requests need when their prompt is parted.
_OPTIONS = (
    "--dtype", "float32", "--enforce-eager", "--enable-prefix-caching", "--block-size", "32",
    "--logprobs-mode", "processed_logprobs", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "32768",
    "--max-num-seqs", "64",
)  # fmt: skip
_METRIC = re.compile(r"^(vllm:\w+?)(?:_total)?(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


def vllm_python() -> Path | None:
    """Returns the Python that vLLM is installed for, or None where there is none."""
    path = Path(os.environ.get("CALM_VLLM_PYTHON") or _ROOT / ".venv-vllm" / "bin" / "python")
    return path if path.is_file() else None


class VllmServer:
    """A server of one model directory on a free port of this machine; `with` starts and kills it."""

    name = _SERVED_NAME
    """What the server calls the model."""

    def __init__(self, python: Path, model: Path, log: Path, *, context_tokens: int = 2048) -> None:
        self.port = free_port()
        self._log = log
        self._command = [*command(python, str(model), str(self.port), context_tokens), "--served-model-name", self.name]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts the server; it does not answer yet."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **VARIABLES},
                cwd=self._log.parent,  # a folder named vllm in the working directory would be imported
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Waits until the server answers."""
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"vLLM ended while it started:\n{self._last_lines()}")
            try:
                self._read("/health")
            except (OSError, urllib.error.URLError):
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"vLLM did not answer within {_START_SECONDS:.0f} s:\n{self._last_lines()}")

    def metrics(self) -> dict[str, float]:
        """Returns the server's counters by name, without "_total", summed over their labels."""
        counters: dict[str, float] = {}
        for name, value in _METRIC.findall(self._read("/metrics")):
            counters[name] = counters.get(name, 0.0) + float(value)
        return counters

    def kill(self) -> None:
        """Kills the server and its engine at once, as the end of a machine would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> VllmServer:
        self.start()
        try:
            self.wait()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def _read(self, path: str) -> str:
        with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310  a URL of this machine
            return str(answer.read().decode())

    def _last_lines(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-30:])


def command(python: Path, model: str, port: str, context_tokens: int = 2048) -> list[str]:
    """Returns what starts a server, word by word."""
    return [
        str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--host", "127.0.0.1",
        "--port", port, "--max-model-len", str(context_tokens), *_OPTIONS,
    ]  # fmt: skip


def free_port() -> int:
    """Returns a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
