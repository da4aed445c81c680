"""One Reasoner at work on one stage: opened, used in an event loop of its own, and closed however that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from typing import Any

from calmstorm.errors import WorkError
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.runs import RunDirectory


def run_closing(
    load: Callable[[], OpenedReasoner],
    work: Callable[[OpenedReasoner], Coroutine[Any, Any, None]],
    run: RunDirectory | None,
    stage: str,
) -> None:
    """Does the work of a stage with a Reasoner; its time goes into the run, where there is one.

    It is opened before there is an event loop: that would keep a Ctrl-C for itself for as long as servers start.

    Raises:
        WorkError: The first failure, where several tasks failed at once.
    """

    async def session(opened: OpenedReasoner) -> None:
        try:
            await work(opened)
        finally:
            await opened.reasoner.close()

    with run.stage(stage) if run is not None else nullcontext():
        try:
            asyncio.run(session(load()))
        except* WorkError as group:
            raise group.exceptions[0] from None
