# ruff: noqa: ANN401 -- functions and objects of libraries that may not be installed here
"""Wraps a solve function so that what it is given and what it answers are written to a channel of their own.

A library's models are read by an observer, a generator function that takes the arguments of the solve: it yields the
model, is sent the answer, and yields the outcome. The model is written before the solver starts, so that a solve that
a limit ends has left its model; the outcome follows under the same serial number.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
from collections.abc import Callable, Generator
from typing import Any

from .models import Model, Outcome

Observer = Callable[..., Generator[Any, Any, None]]
"""Yields a `Model` (None to yield it after the solve), is sent the answer, yields the `Outcome`."""

_Observation = tuple["Recorder", Generator[Any, Any, None]]
"""A solve that is being recorded: where to, and the observer that waits for the answer."""

_OUTCOME_BYTES, _VALUE_BYTES = 256, 26
_LOCK_SECONDS = 1.0
_IMPORT_MACHINERY = "<frozen importlib._bootstrap>"
"""File name of frames that Python leaves out of the tracebacks of imports and does not count in `stacklevel`."""

_recorder: Recorder | None = None


class _Nesting(threading.local):
    depth = 0
    """Wrapped functions that this thread is in; only the outermost was called by the script."""


_nesting = _Nesting()


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

    def write(self, said: Model | Outcome | None) -> None:
        """Writes what an observer yields."""
        if isinstance(said, Model):
            self._write_model(said)
        elif isinstance(said, Outcome) and said.model.serial and not self._write(said.line(), 0):
            self._write(said.line(values=False), 0)

    def _write_model(self, model: Model) -> None:
        """Gives a model its serial number and writes it, shortened where it does not fit."""
        model.serial = f"{os.getpid()}.{next(self._count)}"
        values = _OUTCOME_BYTES + _VALUE_BYTES * model.size
        if not (
            self._write(model.line(), values)
            or self._write(model.line(rows=False), values)
            or self._write(model.line(rows=False, columns=False), _OUTCOME_BYTES)
        ):
            model.serial = ""

    def _write(self, line: bytes, following: int) -> bool:
        """Writes a line if it leaves the budget enough bytes for what follows; returns whether it did."""
        # A fork of the script may have copied a lock whose holder does not exist there.
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
    """Records solves from now on."""
    global _recorder
    _recorder = recorder


def wrapped(original: Callable[..., Any], observer: Observer) -> Callable[..., Any]:
    """Returns a function that does what the original does, and is recorded while no other wrapped one is running."""

    @functools.wraps(original)
    def solve(*arguments: Any, **named: Any) -> Any:
        record = _begin(observer, arguments, named)
        try:
            answer = original(*arguments, **named)
        except BaseException as error:
            hide_frame(error)
            _end(record, error=error)
            raise
        _end(record, answer)
        return answer

    return hide_frames_of(solve)


def wrap(owner: Any, name: str, observer: Observer) -> None:
    """Puts a wrapped function in the place of one that a class or module has itself or inherits."""
    original = getattr(owner, name, None)
    if original is not None and getattr(original, "_observer", None) is not observer:
        solve = wrapped(original, observer)
        solve._observer = observer  # type: ignore[attr-defined]
        setattr(owner, name, solve)


def hide_frame(error: BaseException) -> None:
    """Takes the caller's frame, the newest, out of an error's traceback; a bare `raise` does not put it back."""
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next


def hide_frames_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Has Python leave a function's frames out where it leaves out those of its own import machinery."""
    inner: Any = function
    inner.__code__ = inner.__code__.replace(co_filename=_IMPORT_MACHINERY)
    return function


def _begin(observer: Observer, arguments: tuple[Any, ...], named: dict[str, Any]) -> _Observation | None:
    """Reads and writes the model; returns what takes the answer, None where nothing is recorded."""
    _nesting.depth += 1
    if _nesting.depth > 1 or _recorder is None:
        return None
    try:
        reading = observer(*arguments, **named)
        _recorder.write(next(reading))
    except Exception:
        return None  # a model that cannot be read must not disturb the script
    except BaseException:  # Ctrl-C, or an alarm of the script's own
        _nesting.depth -= 1
        raise
    return _recorder, reading


def _end(observation: _Observation | None, answer: Any = None, error: BaseException | None = None) -> None:
    """Gives an observer the answer, or the error, and writes what it yields."""
    trace = None if error is None else error.__traceback__
    try:
        if observation is not None:
            recorder, reading = observation
            recorder.write(reading.send(answer) if error is None else reading.throw(error))
            for said in reading:
                recorder.write(said)
    except BaseException as raised:
        if raised is not error and not isinstance(raised, Exception):
            raise
    finally:
        _nesting.depth -= 1
        if error is not None:
            error.__traceback__ = trace  # an observer that was shown the error has left its frame there
