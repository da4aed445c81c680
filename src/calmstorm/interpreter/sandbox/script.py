"""Inside the forked child: runs one script the way `python script.py` would, then ends the process.

Nothing here is trusted once the script has started: it can reach every object of this process. The supervisor relies
on what the kernel reports (exit status, resource use); the two marks below only tell apart "never started", "ended
early" and "ended".
"""

from __future__ import annotations

import atexit
import gc
import linecache
import os
import signal
import socket
import sys
import tempfile
import threading
import traceback
import types
from typing import NoReturn

from .. import capture
from . import wire
from .jails import Jail

NAME = "script.py"
STARTED, FINISHED = b"S", b"F"
MEMORY_EXIT = 77
"""Exit status of a script that ended in MemoryError."""
_JOB, _RECORDS = 250, 251
_STRICT = "strict: other programs (CBC among them) may not be started here; solve with pulp.HiGHS(msg=False)"
_FRAMES_SHOWN = 20
_LINE, _LINES = 500, 50


def run_one(jail: Jail, job: socket.socket, output: int, errors: int, records: int) -> NoReturn:
    """Waits for a script, runs it, and ends the process."""
    status = 1
    try:
        jail.around.prefault.copy()
        channel = _arrange_descriptors(job, output, errors, records)
        _point_libraries_at(jail.home)
        jail.seal()
        header, (code,) = wire.receive(channel)
        jail.limit(header["limits"])
        capture.start(capture.Recorder(_RECORDS, int(header["limits"]["capture_bytes"])))
        _mark(STARTED)
        status = _run(code, is_text=header["is_text"], strict=header["strict"])
        _mark(FINISHED)
    except wire.ChannelClosedError:
        status = 0  # the supervisor ended
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _arrange_descriptors(job: socket.socket, output: int, errors: int, records: int) -> socket.socket:
    os.setsid()
    os.dup2(job.fileno(), _JOB, inheritable=False)
    os.dup2(records, _RECORDS, inheritable=False)
    os.dup2(errors, 2)
    os.dup2(output, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.closerange(3, _JOB)
    os.closerange(_RECORDS + 1, 1 << 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    job.detach()
    return socket.socket(fileno=_JOB)


def _point_libraries_at(home: str) -> None:
    """Undoes what libraries remembered when they were imported in the warm parent."""
    os.environ.update(HOME=home, TMPDIR=home)
    tempfile.tempdir = None
    pulp = sys.modules.get("pulp")
    default_solver = getattr(pulp, "LpSolverDefault", None)
    if default_solver is not None:
        default_solver.tmpDir = home
    random = sys.modules.get("numpy.random")
    if random is not None:
        random.seed()  # fork copied the generator: without this all scripts draw the same numbers


def _mark(mark: bytes) -> None:
    try:
        os.write(_JOB, mark)
    except OSError:
        return  # the script closed it: this will count as an early exit


def _run(code: bytes, *, is_text: bool, strict: bool) -> int:
    gc.enable()
    sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = open(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.argv = [NAME]
    sys.path.insert(0, os.getcwd())
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=NAME, __builtins__=__builtins__)
    sys.modules["__main__"] = main
    status = _ending_of(code, main, is_text=is_text, strict=strict)
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException as error:
        status = status or _explain(error)
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except BaseException:  # noqa: S112
            continue  # the script closed or replaced it
    return status


def _ending_of(code: bytes, main: types.ModuleType, *, is_text: bool, strict: bool) -> int:
    """Runs the code and returns the exit status that Python would give."""
    try:
        source: str | bytes = code.decode("utf-8", "surrogatepass") if is_text else code
        text = code.decode("utf-8", "replace")
        linecache.cache[NAME] = (len(text), None, text.splitlines(keepends=True), NAME)
        exec(compile(source, NAME, "exec", dont_inherit=True), main.__dict__)  # noqa: S102
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            return (leaving.code or 0) & 0xFF
        try:
            sys.stderr.write(f"{leaving.code}\n")
        except BaseException:
            return 1
        return 1
    except BaseException as error:
        if strict and isinstance(error, PermissionError):
            error.add_note(_STRICT)
        return _explain(error)
    return 0


def _explain(error: BaseException) -> int:
    """Writes the traceback to stderr, the script's own frames only, and returns the exit status."""
    status = MEMORY_EXIT if isinstance(error, MemoryError) else 1
    try:
        report = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        _keep_own_frames(report)
        sys.stderr.write(_shortened("".join(report.format())))
    except BaseException:
        return status
    return status


def _shortened(report: str) -> str:
    """Cuts very long lines and very many lines, and marks where."""
    lines = [line if len(line) <= _LINE else line[:_LINE] + " [...]" for line in report.splitlines()]
    if len(lines) > 2 * _LINES:
        lines[_LINES:-_LINES] = ["[...]"]
    return "\n".join(lines) + "\n"


def _keep_own_frames(report: traceback.TracebackException, depth: int = 0) -> None:
    own = [frame for frame in report.stack if frame.filename == NAME]
    report.stack[:] = own[-_FRAMES_SHOWN:] if len({frame.name for frame in own}) > 1 else own
    for related in (report.__cause__, report.__context__, *(getattr(report, "exceptions", None) or ())):
        if related is not None and depth < _FRAMES_SHOWN:
            _keep_own_frames(related, depth + 1)
