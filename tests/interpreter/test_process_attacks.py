"""Attacks on other processes, and on being ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from calmstorm.interpreter import Interpreter
from calmstorm.records import ExecutionStatus
from tests.interpreter.conftest import ON_AARCH64, Attack


def test_parent_cannot_be_killed(attack: Attack) -> None:
    execution = attack("import os; os.kill(os.getppid(), 9); print('sent')")
    assert execution.status in ("ok", "error")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGSTOP", "SIGINT", "SIGHUP", "SIGUSR1"])
def test_parent_cannot_be_disturbed_by_signal(attack: Attack, name: str) -> None:
    assert attack(f"import os, signal; os.kill(os.getppid(), signal.{name})").status in ("ok", "error")


def test_everything_cannot_be_killed(attack: Attack) -> None:
    assert attack("import os; os.kill(-1, 9)").status in ("ok", "error", "killed")


def test_process_group_zero_reaches_only_itself(attack: Attack) -> None:
    assert attack("import os; os.killpg(0, 9)").status in ("killed", "error")


def test_warm_parent_cannot_be_killed(attack: Attack, interpreter: Interpreter) -> None:
    before = interpreter.pid
    attack(f"import os; os.kill({before}, 9)")
    assert interpreter.pid == before


def test_host_cannot_be_killed(attack: Attack) -> None:
    assert attack(f"import os; os.kill({os.getpid()}, 15)").status is not ExecutionStatus.INFRASTRUCTURE


def test_processes_cannot_be_guessed(attack: Attack) -> None:
    code = """
        import os
        reached = []
        for pid in range(1, 5000):
            if pid in (os.getpid(), os.getppid()): continue
            try: os.kill(pid, 9)
            except OSError: continue
            reached.append(pid)
        print(reached)
    """
    assert attack(code).stdout == "[]\n"


def test_signal_by_process_descriptor_is_refused(attack: Attack) -> None:
    code = "import os, signal; signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)"
    assert attack(code).status == "error"


def test_parent_cannot_be_traced(attack: Attack) -> None:
    code = "import ctypes, os; print(ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0))"
    assert attack(code).stdout == "-1\n"


def test_parents_memory_cannot_be_read(attack: Attack) -> None:
    code = "import ctypes, os; print(ctypes.CDLL(None).process_vm_readv(os.getppid(), None, 0, None, 0, 0))"
    assert attack(code).stdout == "-1\n"


def test_parents_descriptors_cannot_be_taken(attack: Attack) -> None:
    code = "import ctypes, os; print(ctypes.CDLL(None).syscall(438, os.pidfd_open(os.getppid()), 3, 0))"
    assert attack(code).stdout in ("-1\n", "")


def test_parents_limits_cannot_be_changed(attack: Attack) -> None:
    code = "import os, resource; resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3))"
    assert attack(code).status == "error"


def test_parents_priority_cannot_be_changed(attack: Attack) -> None:
    assert attack("import os; os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)").status == "error"


def test_parents_processors_cannot_be_changed(attack: Attack) -> None:
    assert attack("import os; os.sched_setaffinity(os.getppid(), {0})").status == "error"


def test_namespaces_cannot_be_left(attack: Attack) -> None:
    assert attack("import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))").stdout == "-1\n"


def test_new_namespaces_cannot_be_cloned(attack: Attack) -> None:
    code = "import ctypes; print(ctypes.CDLL(None).syscall(56, 0x10000000 | 17, 0, 0, 0, 0))"
    assert attack(code).stdout == "-1\n"


def test_new_clone_call_is_not_there(attack: Attack) -> None:
    code = "import ctypes; print(ctypes.CDLL(None).syscall(435, ctypes.create_string_buffer(88), 88))"
    assert attack(code).stdout == "-1\n"


def test_second_filter_cannot_be_installed(attack: Attack) -> None:
    number = 277 if ON_AARCH64 else 317
    assert attack(f"import ctypes; print(ctypes.CDLL(None).syscall({number}, 1, 0, 0))").stdout == "-1\n"


def test_kernel_programs_are_refused(attack: Attack) -> None:
    number = 280 if ON_AARCH64 else 321
    assert attack(f"import ctypes; print(ctypes.CDLL(None).syscall({number}, 0, 0, 0))").stdout == "-1\n"


def test_page_faults_cannot_be_taken_over(attack: Attack) -> None:
    number = 282 if ON_AARCH64 else 323
    assert attack(f"import ctypes; print(ctypes.CDLL(None).syscall({number}, 0))").stdout == "-1\n"


def test_clock_cannot_be_set(attack: Attack) -> None:
    assert attack("import time; time.clock_settime(time.CLOCK_REALTIME, 0)").status == "error"


def test_host_name_cannot_be_set(attack: Attack) -> None:
    assert attack("import socket; socket.sethostname('mine')").status == "error"


def test_thirty_two_bit_calls_are_refused(attack: Attack) -> None:
    code = "import ctypes; print(ctypes.CDLL(None).syscall(0x40000000 | 41, 2, 1, 0))"
    assert attack(code).stdout == "-1\n"


def test_future_system_calls_are_not_there(attack: Attack) -> None:
    code = "import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.syscall(900), ctypes.get_errno())"
    assert attack(code).stdout == "-1 38\n"


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess; subprocess.Popen(['/usr/bin/sleep', '4242'])",
        "import subprocess; subprocess.Popen(['/usr/bin/sleep', '4242'], start_new_session=True)",
        "import subprocess; subprocess.Popen(['/usr/bin/nohup', '/usr/bin/sleep', '4242'], process_group=0)",
        "import os\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n"
        "    os.execv('/usr/bin/sleep', ['sleep', '4242'])\n  os._exit(0)\nimport time; time.sleep(0.2)",
        "import os, subprocess; subprocess.Popen(['/usr/bin/sleep', '4242']); os._exit(0)",
        "import os, subprocess; subprocess.Popen(['/usr/bin/sleep', '4242']); os.kill(os.getpid(), 9)",
        "import subprocess; subprocess.Popen(['/usr/bin/sleep', '4242'])\nwhile True: pass",
        "import subprocess; subprocess.Popen(['/usr/bin/sleep', '4242'])\nwhile True: print('x' * 9999)",
    ],
    ids=["child", "session", "nohup", "daemon", "early-exit", "killed", "timeout", "flood"],
)
def test_nothing_outlives_its_script(attack: Attack, code: str) -> None:
    attack(code, wall_seconds=0.7)
    assert _running("sleep 4242") == []


def test_child_ignoring_signals_does_not_outlive_its_script(attack: Attack) -> None:
    attack("import subprocess; subprocess.Popen(['/bin/sh', '-c', 'trap \"\" TERM HUP INT; sleep 4243'])")
    assert _running("sleep 4243") == []


def test_pipe_held_by_a_child_does_not_delay_the_answer(attack: Attack) -> None:
    start = time.monotonic()
    execution = attack("import subprocess; subprocess.Popen(['/usr/bin/sleep', '30']); print('done')")
    assert (execution.status, execution.stdout) == ("ok", "done\n")
    assert time.monotonic() - start < 3


def _running(command: str) -> list[str]:
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue
        if line.endswith(command) and "python" not in line:
            commands.append(line)
    return commands
