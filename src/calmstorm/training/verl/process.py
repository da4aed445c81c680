"""verl's `main_ppo` as a process of ours: started in its own session, watched, and ended with all that it started.

Ray's daemons and workers leave the process group, so that everything started here carries a mark in its environment,
by which it is found again.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from calmstorm.errors import InfrastructureError
from calmstorm.training.verl.plugin import VARIABLE

MARK = "CALMSTORM_VERL_WORK"
"""Names the work directory in the environment of every process of a training."""
LOG = "verl.log"
_END_SECONDS = 20.0
_PR_SET_PDEATHSIG = 1
_TAIL_BYTES = 65536
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception): .+)")


def command(work: Path, config_name: str) -> list[str]:
    """Returns how `main_ppo` is started on the configuration in a work directory."""
    return [
        sys.executable,
        "-m",
        "verl.trainer.main_ppo",
        f"--config-path={work}",
        f"--config-name={config_name}",
        f"hydra.run.dir={work / 'hydra'}",
        "hydra.output_subdir=null",
    ]


def environment(work: Path, device: str) -> dict[str, str]:
    """Returns the environment of a training's processes."""
    own = {
        MARK: str(work),
        VARIABLE: device,
        "HYDRA_FULL_ERROR": "1",
        "RAY_DEDUP_LOGS": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if device == "cpu":
        own["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
        own["RAY_memory_monitor_refresh_ms"] = "0"  # it kills small workers when others fill the machine's memory
    return {**os.environ, **own}


@contextmanager
def running(words: Sequence[str], work: Path, device: str) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a process that is ended, with all that it started, when the context is left or we are killed.

    Its output is appended to the log in the work directory. What an earlier training of this directory left behind is
    ended first.
    """
    sweep(work)
    libc = ctypes.CDLL(None)

    def end_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    with (work / LOG).open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  our own command
            list(words),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment(work, device),
            cwd=work,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )
    try:
        yield process
    finally:
        _end(process, work)


def _end(process: subprocess.Popen[bytes], work: Path) -> None:
    """Asks the process group to end, then kills what is left of it and of Ray."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)  # Ray ends its daemons
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    sweep(work)


def sweep(work: Path) -> None:
    """Kills every process that carries the mark of a work directory, except this one."""
    deadline = time.monotonic() + _END_SECONDS
    while (left := marked(work)) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def marked(work: Path) -> list[int]:
    """Returns the processes on this machine that belong to a training of a work directory."""
    mark = f"{MARK}={work}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def check_ended(process: subprocess.Popen[bytes], work: Path) -> bool:
    """Returns whether a process has ended well; False while it runs.

    Raises:
        InfrastructureError: It ended otherwise; the message has the reason that its log tells.
    """
    status = process.poll()
    if status:
        log = work / LOG
        raise InfrastructureError(f"verl ended with status {status}: {reason(log)} ({log}); run the command again")
    return status == 0


def reason(log: Path) -> str:
    """Returns the last error that a log tells, or its last line."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        lines = _COLOUR.sub("", file.read().decode(errors="replace")).splitlines()
    told = [match.group(1) for line in lines if (match := _ERROR.search(line))]
    last = [line.strip() for line in lines if line.strip()]
    return (told or last or ["it printed nothing"])[-1][:300].rstrip(".")
