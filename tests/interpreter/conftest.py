"""Fixtures of the interpreter's tests: one interpreter a tier, shared by all attacks on it."""

from __future__ import annotations

import os
import platform
import textwrap
from collections.abc import Callable, Iterator

import pytest

from calmstorm.interpreter import Execution, Interpreter, Limits, probe

Attack = Callable[..., Execution]

MARK = "host-secret-d41d8cd9"
os.environ["CALMSTORM_TEST_SECRET"] = MARK
ON_AARCH64 = platform.machine() == "aarch64"
"""System calls have other numbers there."""
WORKING = {tier: works for tier, works, _ in probe()}


@pytest.fixture(scope="session", params=["namespaces", "landlock"])
def tier(request: pytest.FixtureRequest) -> str:
    if not WORKING[request.param]:
        pytest.skip(f"{request.param} does not work on this machine")
    return str(request.param)


@pytest.fixture(scope="session")
def interpreter(tier: str) -> Iterator[Interpreter]:
    with Interpreter(workers=2, tier=tier) as opened:
        yield opened


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves what the tiers share (limits, sources) to one of them, unless all engines are asked for."""
    for item in items:
        shared = item.path.stem in ("test_resource_bombs", "test_odd_sources", "test_network_attacks")
        if shared and "landlock" in item.name and WORKING["namespaces"]:
            item.add_marker(pytest.mark.engines)


@pytest.fixture
def script(interpreter: Interpreter) -> Attack:
    """Runs a script, and nothing else."""

    def run(code: str | bytes, **limits: float) -> Execution:
        source = textwrap.dedent(code) if isinstance(code, str) else code
        return interpreter.run(source, Limits.model_validate({"wall_seconds": 10, **limits}))

    return run


@pytest.fixture
def attack(interpreter: Interpreter) -> Attack:
    """Runs a script and checks that the next one is none the worse for it."""

    def run(code: str | bytes, **limits: float) -> Execution:
        source = textwrap.dedent(code) if isinstance(code, str) else code
        chosen = Limits.model_validate({"wall_seconds": 5, "memory_mb": 1024, "processes": 24, **limits})
        execution = interpreter.run(source, chosen)
        assert execution.wall_seconds < chosen.wall_seconds + 1
        after = interpreter.run("print(6 * 7)")
        assert (after.status, after.stdout) == ("ok", "42\n")
        return execution

    return run


@pytest.fixture(scope="session")
def any_tier() -> str:
    """The strongest tier of this machine, for tests that do not depend on which."""
    return next(tier for tier, works in WORKING.items() if works)
