"""The interpreter as callers see it: threads, tasks, deaths, endings."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.interpreter import Interpreter, Limits, probe
from calmstorm.interpreter.parent_client import ParentClient
from calmstorm.interpreter.pool import Pool, SlotLostError, named_imports


@pytest.fixture(scope="module")
def opened(any_tier: str) -> Iterator[Interpreter]:
    with Interpreter(workers=2, tier=any_tier) as interpreter:
        yield interpreter


def test_a_closed_interpreter_holds_no_file_open() -> None:
    before = sorted(Path("/proc/self/fd").iterdir())
    interpreter = Interpreter(workers=2, tier="unsafe", preload=((),))
    assert interpreter.run("print(1)").stdout == "1\n"
    assert sorted(Path("/proc/self/fd").iterdir()) != before
    interpreter.close()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def processes_below(root: int) -> list[int]:
    if root <= 1:  # between two warm parents there is none; below 0 and 1 is everything else on this machine
        return []
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    below, pending = [], [root]
    while pending:
        for child in children.get(pending.pop(), []):
            below.append(child)
            pending.append(child)
    return below


def kill_all_below(root: int) -> None:
    for pid in processes_below(root):
        with contextlib.suppress(ProcessLookupError):  # it fell with another one
            os.kill(pid, signal.SIGKILL)


def wait_until_gone(pids: list[int], seconds: float = 8) -> list[int]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        left = [pid for pid in pids if Path(f"/proc/{pid}").exists() and " Z " not in state(pid)]
        if not left:
            return []
        time.sleep(0.05)
    return left


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return " Z "


def test_measurements_are_plausible(opened: Interpreter) -> None:
    execution = opened.run(
        "import time\nx = bytearray(100 << 20)\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    )
    assert execution.status == "ok"
    assert 0.3 < execution.cpu_seconds < 1
    assert execution.wall_seconds >= execution.cpu_seconds * 0.9
    assert execution.peak_rss_mb > 110


def test_cpu_time_of_child_programs_counts(opened: Interpreter) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'sum(range(10**7))'], check=True)"
    assert opened.run(code).cpu_seconds > 0.1


def test_answers_reach_their_own_caller_when_many_threads_ask(opened: Interpreter) -> None:
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda number: opened.run(f"print({number})").stdout, range(300)))
    assert answers == [f"{number}\n" for number in range(300)]


def test_event_loop_goes_on_while_scripts_run(opened: Interpreter) -> None:
    async def ask() -> tuple[list[str], int]:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                beats += 1
                await asyncio.sleep(0.01)

        heart = asyncio.create_task(beat())
        sleepers = [opened.arun(f"import time; time.sleep(0.05); print({n})") for n in range(40)]
        answers = [execution.stdout for execution in await asyncio.gather(*sleepers)]
        heart.cancel()
        return answers, beats

    answers, beats = asyncio.run(ask())
    assert answers == [f"{number}\n" for number in range(40)]
    assert beats > 20


def test_cancelled_task_frees_its_worker(opened: Interpreter) -> None:
    async def ask() -> str:
        task = asyncio.create_task(opened.arun("while True: pass", Limits(wall_seconds=60)))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await opened.arun("print('free')")).stdout

    start = time.monotonic()
    assert asyncio.run(ask()) == "free\n"
    assert time.monotonic() - start < 10


def test_interpreter_takes_an_asking_thread_for_each_worker(any_tier: str) -> None:
    with Interpreter(workers=1, tier=any_tier) as interpreter, ThreadPoolExecutor(2) as threads:
        start = time.monotonic()
        list(threads.map(lambda _: interpreter.run("import time; time.sleep(0.4)"), range(2)))
        assert time.monotonic() - start > 0.8


def test_killed_supervisors_are_replaced(any_tier: str) -> None:
    with Interpreter(workers=2, tier=any_tier) as interpreter:
        kill_all_below(interpreter.pid)
        assert [interpreter.run("print(1)").stdout for _ in range(6)] == ["1\n"] * 6


def test_execution_whose_supervisor_dies_is_retried_once(any_tier: str, tmp_path: Path) -> None:
    with Interpreter(workers=1, tier=any_tier, spare=0) as interpreter:
        killer = threading.Timer(0.5, lambda: kill_all_below(interpreter.pid))
        killer.start()
        start = time.monotonic()
        execution = interpreter.run("import time; time.sleep(1); print('done')")
        assert (execution.status, execution.stdout) == ("ok", "done\n")
        assert time.monotonic() - start > 1.4


@pytest.mark.engines
def test_execution_whose_supervisors_keep_dying_is_infrastructure(any_tier: str) -> None:
    stop = threading.Event()

    with Interpreter(workers=1, tier=any_tier, spare=0) as interpreter:

        def keep_killing() -> None:
            while not stop.wait(0.4):
                kill_all_below(interpreter.pid)

        killer = threading.Thread(target=keep_killing)
        killer.start()
        execution = interpreter.run("import time; time.sleep(5)")
        stop.set()
        killer.join()
        assert execution.status == "infrastructure"
        assert execution.stderr
        assert interpreter.run("print(1)").stdout == "1\n"


def test_killed_warm_parent_is_restarted(any_tier: str) -> None:
    with Interpreter(workers=2, tier=any_tier) as interpreter:
        before = interpreter.pid
        below = processes_below(before)
        os.kill(before, signal.SIGKILL)
        time.sleep(0.2)
        assert [interpreter.run("print(1)").stdout for _ in range(4)] == ["1\n"] * 4
        assert interpreter.pid != before
        assert wait_until_gone(below) == []


@pytest.mark.engines
def test_warm_parent_killed_under_load_loses_no_answer(any_tier: str) -> None:
    with Interpreter(workers=2, tier=any_tier) as interpreter, ThreadPoolExecutor(8) as threads:
        pending = [threads.submit(interpreter.run, f"import time; time.sleep(0.05); print({n})") for n in range(60)]
        time.sleep(0.4)
        os.kill(interpreter.pid, signal.SIGKILL)
        for number, future in enumerate(pending):
            execution = future.result(60)
            assert (execution.status, execution.stdout) in (("ok", f"{number}\n"), ("infrastructure", ""))


def test_closing_ends_every_process(any_tier: str) -> None:
    interpreter = Interpreter(workers=2, tier=any_tier)
    pids = [interpreter.pid, *processes_below(interpreter.pid)]
    interpreter.run("print(1)")
    interpreter.close()
    interpreter.close()
    assert wait_until_gone(pids) == []
    with pytest.raises(InfrastructureError, match="closed"):
        interpreter.run("print(1)")


def test_closing_ends_running_scripts(any_tier: str) -> None:
    interpreter = Interpreter(workers=1, tier=any_tier)
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(interpreter.run, "import time; time.sleep(60)", Limits(wall_seconds=60))
        time.sleep(0.3)
        start = time.monotonic()
        interpreter.close()
        assert running.result(10).status == "infrastructure"
        assert time.monotonic() - start < 8


HOST = """
import os, signal, subprocess, sys, threading, time
from calmstorm.interpreter import Interpreter, Limits
interpreter = Interpreter(workers=2, tier={tier!r})
code = "import subprocess; subprocess.Popen(['/usr/bin/sleep', '300']); import time; time.sleep(300)"
for _ in range(2):
    threading.Thread(target=interpreter.run, args=(code, Limits(wall_seconds=300)), daemon=True).start()
time.sleep(0.7)
print(interpreter.pid, flush=True)
{then}
"""


def start_host(tier: str, then: str) -> tuple[subprocess.Popen[str], list[int]]:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST.format(tier=tier, then=then)],
        stdout=subprocess.PIPE,
        text=True,
        # where the tests run as a background job, the shell lets them and their children ignore SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert host.stdout is not None
    warm = int(host.stdout.readline())
    return host, [warm, *processes_below(warm)]


@pytest.mark.parametrize("then", ["time.sleep(300)", "sys.exit(0)"], ids=["killed", "exits-without-closing"])
def test_no_orphan_lives_when_the_host_is_gone(tier: str, then: str) -> None:
    host, pids = start_host(tier, then)
    assert len(pids) > 4
    if "sleep" in then:
        host.kill()
    host.communicate(timeout=20)
    assert wait_until_gone(pids) == []


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_no_orphan_lives_when_the_host_is_ended_by_signal(any_tier: str, ending: signal.Signals) -> None:
    host, pids = start_host(any_tier, "time.sleep(300)")
    host.send_signal(ending)
    host.communicate(timeout=20)
    assert wait_until_gone(pids) == []


def test_nothing_is_left_on_disk(tier: str, tmp_path: Path) -> None:
    code = f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\n" + HOST.format(
        tier=tier, then="interpreter.close()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)
    assert list(tmp_path.iterdir()) == []


def test_fork_of_the_host_is_refused(opened: Interpreter) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            opened.run("print(1)")
        except InfrastructureError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_descriptors_and_processes_do_not_grow(opened: Interpreter) -> None:
    def count() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), len(processes_below(opened.pid))

    for _ in range(4):
        opened.run("print(1)")
    time.sleep(0.3)
    before = count()
    for number in range(60):
        opened.run("import os; os._exit(0)" if number % 3 else "while True: print('x' * 9999)")
    time.sleep(0.3)
    assert count() == before


def test_script_chooses_its_number_of_solver_threads(opened: Interpreter) -> None:
    code = "import highspy; h = highspy.Highs(); h.silent(); h.setOptionValue('threads', {n}); h.addVariable(0, 3); "
    for number in (1, 2, 3):
        assert opened.run(code.format(n=number) + "print(h.run())").stdout == "HighsStatus.kOk\n"


def test_warning_that_a_rehearsal_gave_is_given_again(opened: Interpreter) -> None:
    code = "import warnings; warnings.simplefilter('default'); import pulp; pulp.LpProblem('a b')"
    assert "Spaces are not permitted" in opened.run(code).stderr


@pytest.mark.skipif(importlib.util.find_spec("ortools") is None, reason="ortools is not installed (extra `solvers`)")
def test_libraries_that_cannot_be_imported_together_do_not_meet(opened: Interpreter) -> None:
    code = "from ortools.linear_solver import pywraplp; print(pywraplp.Solver.CreateSolver('GLOP') is not None)"
    assert opened.run(code).stdout == "True\n"
    assert opened.run("import pulp; print(pulp.HiGHS().available())").stdout == "True\n"


def test_script_whose_imports_are_not_in_its_text_runs(opened: Interpreter) -> None:
    code = "a, b = __import__('sym' + 'py'), __import__('pu' + 'lp'); print(a.Integer(3), b.LpStatus[1])"
    assert opened.run(code).stdout == "3 Optimal\n"


class NoParent:
    """Warm parents that cannot be started."""

    modules = (frozenset({b"json"}),)

    def spawn(self, channel: object, level: int) -> None:
        raise InfrastructureError("no memory left")


def test_slots_that_could_not_be_started_are_not_waited_for() -> None:
    pool = Pool(cast(ParentClient, NoParent()), size=2)
    for _ in range(5):
        with pytest.raises(SlotLostError, match="no memory left"), pool.slot(0):
            pass


def test_closed_warm_parents_do_not_start_anew() -> None:
    parents = ParentClient(("unsafe",), sys.executable, (("json",),), rehearse=False)
    parents.close()
    mine, theirs = socket.socketpair()
    with mine, theirs, pytest.raises(InfrastructureError, match="closed"):
        parents.spawn(theirs, 0)
    assert parents.pid == 0


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("import numpy as np, scipy.optimize\n", {"numpy", "scipy"}),
        ("def f():\n\tfrom sympy.core import Add; import pulp\n", {"sympy", "pulp"}),
        ("x = 'import'\nimport\\\n os\n", set()),
        ("import" + " " * 100_000 + "x", {"x"}),
    ],
)
def test_imports_are_read_off_the_text(code: str, named: set[str]) -> None:
    assert {name.decode() for name in named_imports(code.encode())} - {"", "\\"} == named


@pytest.mark.parametrize("name", ["tiers", "", "docker"])
def test_unknown_tier_is_refused_with_a_remedy(name: str) -> None:
    with pytest.raises(InputError, match="it must be one of auto, namespaces, landlock, unsafe"):
        Interpreter(tier=name)


def test_worker_count_below_one_is_refused() -> None:
    with pytest.raises(InputError, match="workers is 0"):
        Interpreter(workers=0)


def test_limit_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError, match="wall_seconds is 0"):
        Limits(wall_seconds=0)


def test_python_that_does_not_exist_is_refused() -> None:
    with pytest.raises((InputError, InfrastructureError), match="no-such-python"):
        Interpreter(python="/usr/bin/no-such-python")


def test_probe_names_every_tier() -> None:
    answers = probe()
    assert [tier for tier, _, _ in answers] == ["namespaces", "landlock", "unsafe"]
    assert all(works or reason for _, works, reason in answers)


def test_auto_is_never_unsafe() -> None:
    with Interpreter(workers=1, preload=()) as interpreter:
        assert interpreter.tier in ("namespaces", "landlock")


def test_strict_interpreter_starts_no_program(any_tier: str) -> None:
    with Interpreter(workers=1, tier=any_tier, strict=True) as interpreter:
        assert interpreter.run("import subprocess; subprocess.run(['/usr/bin/true'])").status == "error"
        model = """
            import pulp
            p = pulp.LpProblem("p", pulp.LpMaximize)
            x = pulp.LpVariable("x", 0, 4)
            p += 3 * x
            p.solve({solver})
            print(pulp.value(p.objective))
        """
        refused = interpreter.run(textwrap.dedent(model.format(solver="pulp.PULP_CBC_CMD(msg=0)")))
        assert refused.status == "error"
        assert "strict" in refused.stderr
        assert interpreter.run(textwrap.dedent(model.format(solver="pulp.HiGHS(msg=False)"))).stdout == "12.0\n"


def test_interpreter_needs_nothing_but_the_standard_library_in_the_scripts_environment(
    tmp_path: Path, any_tier: str
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    with Interpreter(workers=1, tier=any_tier, python=str(tmp_path / "bare/bin/python")) as interpreter:
        assert (
            interpreter.run("import sys, json; print(json.dumps(sys.prefix))").stdout
            == json.dumps(str(tmp_path / "bare")) + "\n"
        )
        assert "ModuleNotFoundError" in interpreter.run("import numpy").stderr
        assert "ModuleNotFoundError" in interpreter.run("import pydantic").stderr
