"""Control groups: used where they are delegated, done without where they are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from calmstorm.interpreter import Interpreter, Limits
from calmstorm.interpreter.sandbox import cgroups


def test_directory_that_is_no_control_group_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cgroup\.procs"):
        cgroups.Group(str(tmp_path), "slot")
    assert list(tmp_path.iterdir()) == []


def test_only_groups_of_ones_own_are_removed(tmp_path: Path) -> None:
    mine, others = tmp_path / f"calmstorm-{os.getpgid(0)}-7", tmp_path / "calmstorm-1-7"
    mine.mkdir()
    others.mkdir()
    cgroups.remove_groups(str(tmp_path))
    assert list(tmp_path.iterdir()) == [others]


def test_scripts_run_whether_or_not_a_group_is_delegated(any_tier: str) -> None:
    with Interpreter(workers=1, tier=any_tier, preload=()) as interpreter:
        assert interpreter.run("print(6 * 7)").stdout == "42\n"
        assert interpreter.memory_group == "" or os.access(interpreter.memory_group, os.W_OK)


def test_kernel_bounds_all_processes_together_where_a_group_is_delegated(tier: str) -> None:
    bomb = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        mine = bytearray(60 << 20)
        time.sleep(30)
time.sleep(30)
"""
    with Interpreter(workers=1, tier=tier, preload=()) as interpreter:
        if not interpreter.memory_group:
            pytest.skip("no control group with a memory limit is delegated to this process")
        mine = f"calmstorm-{interpreter.pid}-*"
        limits = Limits(memory_mb=100, wall_seconds=20)
        assert interpreter.run("print(len(bytearray(60 << 20)))", limits).status == "ok"
        execution = interpreter.run(bomb, limits)
        assert execution.status == "memory"
        assert execution.wall_seconds < 5
        assert interpreter.run("print(len(bytearray(60 << 20)))", limits).status == "ok"
        group = Path(interpreter.memory_group)
    assert list(group.glob(mine)) == []


def test_group_is_looked_for_without_a_trace() -> None:
    code = "from calmstorm.interpreter.sandbox import cgroups; print(repr(cgroups.usable_parent()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, start_new_session=True
    )
    assert done.stderr == ""
    assert done.stdout.startswith(("''", "'/"))
