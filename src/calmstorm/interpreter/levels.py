"""Where a script runs: the slots of each level of imports, and which level a script needs."""

from __future__ import annotations

import queue
import re
import threading

from calmstorm.interpreter.slot import Slot
from calmstorm.interpreter.warm import WarmParent

_IMPORTS = re.compile(
    rb"^[ \t]*(?:from[ \t]+([\w.]+)|import[ \t]+([^\n;#]+))|;[ \t]*import[ \t]+([^\n;#]+)", re.MULTILINE
)


class Levels:
    """The slots of an interpreter, made as they are needed. Methods may be called from any thread.

    Args:
        warm: The warm parents.
        at_most: Slots of each level.
    """

    def __init__(self, warm: WarmParent, at_most: int) -> None:
        self._warm = warm
        self._at_most = at_most
        self._lock = threading.Lock()
        self._made = [0] * len(warm.modules)
        self._idle: list[queue.SimpleQueue[Slot]] = [queue.SimpleQueue() for _ in warm.modules]
        self.slots: list[Slot] = []

    def open(self) -> None:
        """Makes the first slot of each level, ready to run.

        Raises:
            SlotLostError: One could not be started.
        """
        for level in range(len(self._idle)):
            self.put_back(self.take(level), level)
        for slot in self.slots:
            slot.greet()

    def take(self, level: int) -> Slot:
        """Returns a slot for the caller alone, the one that has been idle longest; waits for one if it must.

        Raises:
            SlotLostError: A new one was needed and could not be started.
        """
        try:
            return self._idle[level].get_nowait()
        except queue.Empty:
            return self._make(level) or self._idle[level].get()

    def put_back(self, slot: Slot, level: int) -> None:
        """Returns what `take` gave."""
        self._idle[level].put(slot)

    def level_for(self, code: bytes) -> int:
        """The first level that has all preloaded libraries that a script names; a wrong guess costs it an import."""
        needed = named_imports(code)
        preloaded = needed & self._warm.modules[-1]
        for level, modules in enumerate(self._warm.modules):
            if preloaded <= modules:
                return level
        return len(self._warm.modules) - 1

    def _make(self, level: int) -> Slot | None:
        """Returns another slot, or None where there are enough."""
        with self._lock:
            if self._made[level] == self._at_most:
                return None
            self._made[level] += 1
        try:
            slot = Slot(self._warm, level)
        except BaseException:
            with self._lock:
                self._made[level] -= 1  # else callers would wait for a slot that does not exist
            raise
        self.slots.append(slot)
        return slot


def named_imports(code: bytes) -> frozenset[bytes]:
    """Top-level modules that the text seems to import."""
    found: set[bytes] = set()
    for groups in _IMPORTS.findall(code):
        for listed in groups:
            found.update(name.strip().partition(b" ")[0].partition(b".")[0] for name in listed.split(b","))
    return frozenset(found)
