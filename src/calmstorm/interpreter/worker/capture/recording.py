# ruff: noqa: ANN401 -- functions and objects of libraries that may not be installed here
"""Wraps a solve function so that what it is given and what it answers are written to a channel of their own.

What a library's models look like is told by its account, a generator function that takes the arguments of the solve:
it yields the model, is sent the answer, and yields the outcome. The model is written before the solver starts, so that
a solve that a limit ends has left its model; the outcome follows under the same serial number.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import threading
from collections.abc import Callable, Generator
from typing import Any

from .notation import Model, Outcome

Account = Callable[..., Generator[Any, Any, None]]
"""Yields a `Model` (None to say it only after the solve), is sent the answer, yields the `Outcome`."""

_OUTCOME_BYTES, _VALUE_BYTES = 256, 26
_LOCK_SECONDS = 1.0
_IMPORT_MACHINERY = "<frozen importlib._bootstrap>"
"""File name of frames that Python leaves out of the tracebacks of imports and does not count in `stacklevel`."""

_recorder: Recorder | None = None


class _Thread(threading.local):
    depth = 0
    """Wrapped functions that this thread is in: only the outermost is the script's own solve."""


_here = _Thread()


class Recorder:
    """Writes records to a descriptor until its budget is spent.

    Args:
        descriptor: Where records go, one JSON object a line.
        budget: Bytes that may be written in all.
    """

    def __init__(self, descriptor: int, budget: int) -> None:
        self._descriptor = descriptor
        self._left = budget
        self._lock = threading.Lock()
        self._count = itertools.count(1)

    def tell(self, model: Model) -> None:
        """Gives a model its serial number and writes it, shortened where it does not fit."""
        model.serial = f"{os.getpid()}.{next(self._count)}"
        values = _OUTCOME_BYTES + _VALUE_BYTES * len(model.variables)
        if not (
            self._write(model.line(), values)
            or self._write(model.line(rows=False), values)
            or self._write(model.line(rows=False, columns=False), _OUTCOME_BYTES)
        ):
            model.serial = ""

    def close(self, outcome: Outcome) -> None:
        """Writes what came of a model that was told; without the values where they do not fit."""
        if outcome.model.serial and not self._write(outcome.line(), 0):
            self._write(outcome.line(values=False), 0)

    def _write(self, line: bytes, following: int) -> bool:
        # A fork of the script may have copied a lock that nobody is left to open.
        if len(line) + following > self._left or not self._lock.acquire(timeout=_LOCK_SECONDS):
            return False
        try:
            self._left -= len(line)
            while line:
                line = line[os.write(self._descriptor, line) :]
        finally:
            self._lock.release()
        return True


def start(recorder: Recorder) -> None:
    """From now on, solves are recorded."""
    global _recorder
    _recorder = recorder


def wrapped(original: Callable[..., Any], account: Account) -> Callable[..., Any]:
    """Returns a function that does what the original does, and is recorded while no other wrapped one is running."""

    @functools.wraps(original)
    def solve(*arguments: Any, **named: Any) -> Any:
        record = _begin(account, arguments, named)
        try:
            answer = original(*arguments, **named)
        except BaseException as error:
            leave_no_trace(error)
            _end(record, error=error)
            raise
        _end(record, answer)
        return answer

    return unseen(solve)


def wrap(owner: Any, name: str, account: Account) -> None:
    """Puts a wrapped function in the place of one that a class or module has itself or inherits."""
    original = getattr(owner, name, None)
    if original is not None and getattr(original, "_account", None) is not account:
        solve = wrapped(original, account)
        solve._account = account  # type: ignore[attr-defined]
        setattr(owner, name, solve)


def leave_no_trace(error: BaseException) -> None:
    """Takes the caller's frame, the newest so far, out of an error's traceback; a bare `raise` does not put it back."""
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next


def unseen(function: Callable[..., Any]) -> Callable[..., Any]:
    """Has Python leave a function's frames out where it leaves out those of its own import machinery."""
    inner: Any = function
    inner.__code__ = inner.__code__.replace(co_filename=_IMPORT_MACHINERY)
    return function


class _Record:
    """A solve that is being recorded."""

    def __init__(self, recorder: Recorder, account: Generator[Any, Any, None]) -> None:
        self._recorder = recorder
        self._account = account
        self._take(next(account))

    def finish(self, answer: Any, error: BaseException | None) -> None:
        with contextlib.suppress(StopIteration):
            self._take(self._account.send(answer) if error is None else self._account.throw(error))
            for said in self._account:
                self._take(said)

    def _take(self, said: Model | Outcome | None) -> None:
        if isinstance(said, Model):
            self._recorder.tell(said)
        elif isinstance(said, Outcome):
            self._recorder.close(said)


def _begin(account: Account, arguments: tuple[Any, ...], named: dict[str, Any]) -> _Record | None:
    _here.depth += 1
    if _here.depth > 1 or _recorder is None:
        return None
    try:
        return _Record(_recorder, account(*arguments, **named))
    except Exception:
        return None  # a model we cannot describe must not disturb the script
    except BaseException:  # Ctrl-C, or an alarm of the script's own
        _here.depth -= 1
        raise


def _end(record: _Record | None, answer: Any = None, error: BaseException | None = None) -> None:
    trace = None if error is None else error.__traceback__
    try:
        if record is not None:
            record.finish(answer, error)
    except BaseException as raised:
        if raised is not error and not isinstance(raised, Exception):
            raise
    finally:
        _here.depth -= 1
        if error is not None:
            error.__traceback__ = trace  # an account that was shown the error has left its frame there
