# ruff: noqa: ANN401 -- modules, loaders and specs of whatever kind
"""Wraps libraries when they arrive: at once where they are imported already, else as the last step of their import.

A script may import a library that the warm parent did not. A finder at the head of `sys.meta_path` answers for the
modules that are watched, by asking the other finders, and has the loader wrap the module once it has been executed.
Everything else it passes over with one look into a dictionary.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from .recording import leave_no_trace, unseen

Wrap = Callable[[Any], None]
"""Puts wrapped functions into a module; may fail, which leaves the library as it is."""


def watch(modules: Mapping[str, Wrap]) -> None:
    """Wraps each of these modules, now or when it is imported."""
    for name, wrap in modules.items():
        if name in sys.modules:
            _apply(wrap, sys.modules[name])
    sys.meta_path.insert(0, _Finder(modules))


class _Finder:
    """Finds nothing of its own."""

    def __init__(self, modules: Mapping[str, Wrap]) -> None:
        self._modules = modules
        self._asking: set[str] = set()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        wrap = self._modules.get(name)
        if wrap is None or name in self._asking:  # other finders (Pyomo has one) ask all there are, as this one does
            return None
        self._asking.add(name)
        try:
            spec = next(filter(None, (_asked(each, name, path, target) for each in sys.meta_path)), None)
        finally:
            self._asking.discard(name)
        if spec is not None:
            with contextlib.suppress(Exception):
                _follow(spec.loader, wrap)
        return spec


def _asked(finder: Any, name: str, path: Any, target: Any) -> Any:
    find = getattr(finder, "find_spec", None)
    return None if find is None else find(name, path, target)


def _follow(loader: Any, wrap: Wrap) -> None:
    """Has a loader wrap the one module that it is there for."""
    execute = loader.exec_module

    def exec_module(module: Any) -> None:
        del loader.exec_module
        try:
            execute(module)
        except BaseException as error:
            leave_no_trace(error)
            raise
        _apply(wrap, module)

    loader.exec_module = unseen(exec_module)


def _apply(wrap: Wrap, module: Any) -> None:
    with contextlib.suppress(Exception):
        wrap(module)
