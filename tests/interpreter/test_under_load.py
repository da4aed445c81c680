"""Many executions, many callers, and `kill -9` in between: nothing wrong, nothing crossed, nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from calmstorm.interpreter import Execution, Interpreter, Limits

EXECUTIONS = 20_000
THREADS = 64
BATCH = 1000
PULP = """
import pulp
p = pulp.LpProblem("p", pulp.LpMaximize)
x = pulp.LpVariable("x", 0, {n}, cat="Integer")
p += 3 * x
p.solve(pulp.PULP_CBC_CMD(msg=0))
print({n}, pulp.value(p.objective))
"""
LINPROG = """
from scipy.optimize import linprog
print({n}, round(-linprog([-3], bounds=[(0, {n})]).fun))
"""
SYMPY = "import sympy; print({n}, sympy.Integer({n}) * 3)"
PLAIN = "open('mine', 'x').write('{n}'); print({n}, 3 * int(open('mine').read()))"
KINDS = ((PLAIN, 84), (PULP, 8), (LINPROG, 4), (SYMPY, 4))


def script(number: int) -> str:
    draw = random.Random(number)
    return draw.choices([text for text, _ in KINDS], [weight for _, weight in KINDS])[0].format(n=number)


def is_right(number: int, stdout: str) -> bool:
    first, _, second = stdout.strip().partition(" ")
    return first == str(number) and float(second) == 3 * number


def below(root: int) -> dict[int, str]:
    """Processes below one and itself, with their /proc/PID/stat."""
    if root <= 1:  # between two warm parents there is none; below 0 and 1 is everything else on this machine
        return {}
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            stats[int(path.parent.name)] = path.read_text()
    parents = {pid: int(text.rsplit(")", 1)[1].split()[1]) for pid, text in stats.items()}
    tree = {root}
    for _ in range(8):
        tree |= {pid for pid, parent in parents.items() if parent in tree}
    return {pid: stats[pid] for pid in tree & set(stats)}


def footprint(pid: int) -> Counter[str]:
    """What could grow, over all processes of an interpreter."""
    total: Counter[str] = Counter()
    for member, stat in below(pid).items():
        with contextlib.suppress(OSError):
            total["zombies"] += stat.rsplit(")", 1)[1].split()[0] == "Z"
            status = Path(f"/proc/{member}/status").read_text()
            own = sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
            total["processes"] += 1
            total["kilobytes"] += own
            total["descriptors"] += len(list(Path(f"/proc/{member}/fd").iterdir()))
            total["mounts"] += len(Path(f"/proc/{member}/mounts").read_text().splitlines())
    return total


def own_kilobytes() -> int:
    text = Path("/proc/self/status").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("RssAnon"))


@pytest.mark.engines
@pytest.mark.timeout(1800)
def test_twenty_thousand_executions_from_64_threads_are_right_and_leave_nothing(tier: str) -> None:
    wrong: list[object] = []

    def run(number: int) -> None:
        execution = interpreter.run(script(number))
        if execution.status != "ok" or not is_right(number, execution.stdout):
            wrong.append((number, execution))

    def settled() -> tuple[Counter[str], int, int]:
        time.sleep(1)
        return footprint(interpreter.pid), own_kilobytes(), len(list(Path("/proc/self/fd").iterdir()))

    with Interpreter(workers=2, tier=tier) as interpreter, ThreadPoolExecutor(THREADS) as threads:
        for start in range(0, EXECUTIONS, BATCH):  # so that the waiting futures are no more at the end than before
            list(threads.map(run, range(start, start + BATCH)))
            if start == BATCH:
                before, memory_before, descriptors_before = settled()
        after, memory_after, descriptors_after = settled()
    assert wrong == []
    print(f"{tier}: before {dict(before)}, after {dict(after)}, host {memory_before} -> {memory_after} kB")
    for kind in ("processes", "zombies", "mounts", "descriptors"):
        assert after[kind] <= before[kind], kind
    assert after["kilobytes"] < 1.03 * before["kilobytes"] + 2048
    assert memory_after < memory_before + 8192
    assert descriptors_after <= descriptors_before


@pytest.mark.engines
def test_thousands_of_tasks_wait_their_turn(any_tier: str) -> None:
    async def ask() -> list[str]:
        return [e.stdout for e in await asyncio.gather(*(interpreter.arun(f"print({n})") for n in range(3000)))]

    with Interpreter(workers=2, tier=any_tier) as interpreter:
        threads_before = threading.active_count()
        assert asyncio.run(ask()) == [f"{number}\n" for number in range(3000)]
        assert threading.active_count() <= threads_before + 2


def first_warm_parent(interpreter: Interpreter) -> list[int]:
    return [pid for pid in [interpreter.pid] if pid > 1]


def a_level(interpreter: Interpreter) -> list[int]:
    return children(interpreter.pid)[:1]


def a_supervisor(interpreter: Interpreter) -> list[int]:
    return [pid for level in children(interpreter.pid) for pid in children(level)][-1:]


def everything_below(interpreter: Interpreter) -> list[int]:
    root = interpreter.pid
    return [pid for pid in below(root) if pid != root]


def children(pid: int) -> list[int]:
    if pid <= 1:
        return []
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.engines
@pytest.mark.parametrize("victims", [first_warm_parent, a_level, a_supervisor, everything_below])
def test_killed_process_under_load_costs_at_most_an_infrastructure_answer(
    tier: str, victims: Callable[[Interpreter], list[int]]
) -> None:
    with Interpreter(workers=2, tier=tier) as interpreter, ThreadPoolExecutor(16) as threads:
        seen: set[int] = set()

        def run(number: int) -> tuple[int, Execution]:
            if number % 120 == 100:
                seen.update(below(interpreter.pid))
                for pid in victims(interpreter):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            return number, interpreter.run(script(number))

        answers = list(threads.map(run, range(600)))
        lost = [execution for _, execution in answers if execution.status == "infrastructure"]
        assert all(is_right(n, e.stdout) for n, e in answers if e.status != "infrastructure")
        assert all(execution.stdout == "" for execution in lost)
        assert len(lost) < len(answers) / 4
        assert interpreter.run("print(6 * 7)").stdout == "42\n"
        seen.update(below(interpreter.pid))
    assert gone(seen) == set()


def gone(pids: set[int], seconds: float = 10) -> set[int]:
    """Returns those that still live after a while."""
    deadline = time.monotonic() + seconds
    left = set(pids) - {os.getpid()}
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if " Z " not in stat_of(pid)}
        time.sleep(0.05)
    return left


def stat_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return " Z "


HOST = """
import itertools, sys
from concurrent.futures import ThreadPoolExecutor
from calmstorm.interpreter import Interpreter
interpreter = Interpreter(workers=2, tier={tier!r})
code = "import subprocess, time; subprocess.Popen(['/usr/bin/sleep', '300']); time.sleep(0.05); print(1)"
print(interpreter.pid, flush=True)
with ThreadPoolExecutor(8) as threads:
    for _ in threads.map(lambda _: interpreter.run(code), range(100000)):
        pass
"""


@pytest.mark.engines
def test_host_killed_under_load_leaves_no_process(tier: str) -> None:
    for round_number in range(6):
        host = subprocess.Popen(
            [sys.executable, "-c", HOST.format(tier=tier)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert host.stdout is not None
        warm = int(host.stdout.readline())
        time.sleep(0.3 + 0.21 * round_number)
        pids = set(below(warm))
        host.kill()
        host.communicate()
        assert gone(pids) == set()


FRAGMENTS = (
    "import os\n",
    "os.fork()\n",
    "os._exit(3)\n",
    "os.kill(0, 9)\n",
    "os.kill(os.getpid(), 11)\n",
    "while True: pass\n",
    "print('x' * 10**6)\n",
    "x = [0] * 10**9\n",
    "raise SystemExit('no')\n",
    "raise MemoryError\n",
    "exit()\n",
    "1/0\n",
    "import threading; threading.Thread(target=print, args=(1,)).start()\n",
    "import pulp\n",
    "p.solve()\n",
    "\x00",
    "é",
    "for i in range(3):\n    print(i)\n",
    "def f(): return f()\nf()\n",
    "os.close(1)\n",
    "os.closerange(0, 300)\n",
    "\\",
    "import signal; signal.alarm(1)\n",
    "import sys; sys.setrecursionlimit(10**6)\n",
    "(" * 300,
    "'''",
    "\t",
    "\ud800",
    "import gc; [setattr(o, 'x', 1) for o in gc.get_objects() if isinstance(o, type)]\n",
    "del __builtins__\n",
    "import ctypes; ctypes.string_at(0)\n",
    "import subprocess; subprocess.Popen(['/bin/sleep', '9'])\n",
    "open('f', 'w').write('y' * 10**8)\n",
    "import sympy; sympy.Symbol('x') ** 2\n",
    "import resource\n",
    "async def g(:\n",
)


def fuzzed(number: int) -> str | bytes:
    """A source made of fragments of bad behaviour and torn pieces of good scripts; the same for the same number."""
    draw = random.Random(f"fuzz {number}")
    if number % 10 == 0:
        return draw.randbytes(draw.randrange(400))
    pieces = []
    for _ in range(draw.randrange(1, 7)):
        text = draw.choice([*FRAGMENTS, PULP.format(n=4), LINPROG.format(n=4), PLAIN.format(n=4)])
        if draw.random() < 0.3:
            cut = draw.randrange(len(text) + 1)
            text = text[:cut] + draw.choice(FRAGMENTS) + text[cut + draw.randrange(3) :]
        alone = draw.random() < 0.7  # else one that is not Python keeps the others from running
        pieces.append(f"try: exec({text!a}, globals())\nexcept Exception: pass\n" if alone else text)
    source = "".join(pieces)
    return source if number % 3 else source.encode("utf-8", "surrogatepass")


@pytest.mark.engines
@pytest.mark.timeout(1800)
def test_ten_thousand_fuzzed_sources_end_in_time_with_a_status_that_is_theirs(any_tier: str) -> None:
    limits = Limits(wall_seconds=0.4, memory_mb=512, processes=16)
    with Interpreter(workers=2, tier=any_tier) as interpreter, ThreadPoolExecutor(4) as threads:
        before = footprint(interpreter.pid)

        def run(number: int) -> tuple[int, str, float]:
            execution = interpreter.run(fuzzed(number), limits)
            return number, execution.status, execution.wall_seconds

        answers = list(threads.map(run, range(10_000)))
        assert interpreter.run("print(6 * 7)").stdout == "42\n"
        time.sleep(1)
        after = footprint(interpreter.pid)
    print(Counter(status for _, status, _ in answers), "slowest", max(wall for *_, wall in answers))
    assert [number for number, status, _ in answers if status == "infrastructure"] == []
    assert [number for number, _, wall in answers if wall > limits.wall_seconds + 1] == []
    assert after["zombies"] <= before["zombies"]
