# ruff: noqa: ANN401 -- modules, loaders and specs of whatever kind
"""Wraps libraries when they are imported: at once where that was before, else as the last step of their import.

A script may import a library that the warm parent did not. A finder at the head of `sys.meta_path` answers for the
modules that are to be wrapped, by asking the other finders, and has the loader wrap the module once it was executed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

from .recorder import hide_frame, hide_frames_of

Wrap = Callable[[Any], None]
"""Puts wrapped functions into a module; may fail, which leaves the library as it is."""


def wrap_on_import(wrap_for: Callable[[str], Wrap | None]) -> None:
    """Wraps modules, now or when they are imported.

    Args:
        wrap_for: Returns how to wrap the module of a name; None where it is to be left alone.
    """
    for name, module in list(sys.modules.items()):
        wrap = wrap_for(name)
        if wrap is not None:
            _apply(wrap, module)
    sys.meta_path.insert(0, _Finder(wrap_for))


class _Finder:
    """Finds nothing of its own."""

    def __init__(self, wrap_for: Callable[[str], Wrap | None]) -> None:
        self._wrap_for = wrap_for
        self._asking: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        wrap = self._wrap_for(name)
        if wrap is None or name in self._asking:  # other finders (Pyomo has one) ask all there are, as this one does
            return None
        self._asking.add(name)
        try:
            finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
            specs = (find(name, path, target) for find in finders if find is not None)
            spec = next(filter(None, specs), None)
        finally:
            self._asking.discard(name)
        if spec is not None:
            with contextlib.suppress(Exception):
                _wrap_after_execution(spec.loader, wrap)
        return spec


def _wrap_after_execution(loader: Any, wrap: Wrap) -> None:
    """Has a loader wrap the one module that it is there for."""
    execute = loader.exec_module

    def exec_module(module: Any) -> None:
        del loader.exec_module
        try:
            execute(module)
        except BaseException as error:
            hide_frame(error)
            raise
        _apply(wrap, module)

    loader.exec_module = hide_frames_of(exec_module)


def _apply(wrap: Wrap, module: Any) -> None:
    with contextlib.suppress(Exception):
        wrap(module)
