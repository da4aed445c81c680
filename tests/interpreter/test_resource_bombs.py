"""Attacks that try to use more than they were given."""

from __future__ import annotations

import pytest

from tests.interpreter.conftest import Attack


def test_endless_loop_times_out(attack: Attack) -> None:
    assert attack("while True: pass", wall_seconds=0.5).status == "timeout"


def test_sleeping_script_times_out(attack: Attack) -> None:
    assert attack("import time; time.sleep(60)", wall_seconds=0.5).status == "timeout"


def test_timeout_keeps_what_was_printed_before(attack: Attack) -> None:
    execution = attack("print('so far')\nwhile True: pass", wall_seconds=0.5)
    assert (execution.status, execution.stdout) == ("timeout", "so far\n")


def test_script_that_ignores_signals_times_out(attack: Attack) -> None:
    code = """
        import signal
        for number in range(1, 32):
            try: signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError): pass
        while True: pass
    """
    assert attack(code, wall_seconds=0.5).status == "timeout"


def test_script_that_catches_everything_times_out(attack: Attack) -> None:
    code = """
        while True:
            try:
                while True: pass
            except BaseException: pass
    """
    assert attack(code, wall_seconds=0.5).status == "timeout"


def test_stopped_script_times_out(attack: Attack) -> None:
    assert attack("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", wall_seconds=0.5).status == "timeout"


def test_cpu_limit_ends_a_script_before_its_wall_limit(attack: Attack) -> None:
    execution = attack("while True: pass", wall_seconds=10, cpu_seconds=0.2)
    assert execution.status == "timeout"
    assert execution.wall_seconds < 6


def test_catastrophic_regular_expression_times_out(attack: Attack) -> None:
    assert attack("import re; re.match(r'(a+)+$', 'a' * 40 + 'b')", wall_seconds=0.5).status == "timeout"


def test_huge_power_times_out(attack: Attack) -> None:
    assert attack("print(len(str(9 ** 9 ** 8)))", wall_seconds=0.5).status in ("timeout", "memory", "error")


def test_huge_factorial_inside_c_code_times_out(attack: Attack) -> None:
    assert attack("import math; math.factorial(10 ** 8)", wall_seconds=0.5).status == "timeout"


def test_one_huge_allocation_is_memory(attack: Attack) -> None:
    assert attack("x = bytearray(1 << 40)").status == "memory"


def test_growing_list_is_memory(attack: Attack) -> None:
    assert attack("x = []\nwhile True: x.append(bytearray(1 << 20))", memory_mb=200).status == "memory"


def test_growing_array_is_memory(attack: Attack) -> None:
    code = "import numpy as np\nx = [np.ones(1 << 17)]\nwhile True: x.append(np.ones(1 << 20))"
    assert attack(code, memory_mb=200).status == "memory"


def test_memory_spread_over_processes_is_ended(attack: Attack) -> None:
    code = """
        import os, time
        for _ in range(8):
            if os.fork() == 0:
                hoard = bytearray(os.urandom(1 << 20) * 80)
                time.sleep(30)
        time.sleep(30)
    """
    execution = attack(code, memory_mb=200, wall_seconds=10)
    assert execution.status == "memory"
    assert execution.wall_seconds < 8


def test_memory_hoarded_in_shared_mappings_is_ended(attack: Attack) -> None:
    code = """
        import mmap, time
        hoard = []
        while True:
            area = mmap.mmap(-1, 16 << 20)
            area.write(b"x" * (16 << 20))
            hoard.append(area)
    """
    assert attack(code, memory_mb=200).status in ("memory", "error")


def test_memory_files_are_not_there(attack: Attack) -> None:
    execution = attack("import os; os.memfd_create('hoard')")
    assert "OSError" in execution.stderr


def test_deep_recursion_is_an_error(attack: Attack) -> None:
    execution = attack("def f(n): return f(n + 1)\nf(0)")
    assert execution.status == "error"
    assert "RecursionError" in execution.stderr


def test_stack_overflow_in_c_is_reported(attack: Attack) -> None:
    code = "import sys; sys.setrecursionlimit(10 ** 9)\nclass A:\n  def __repr__(s): return repr(s)\nrepr(A())"
    assert attack(code).status in ("killed", "error", "memory")


def test_fork_bomb_ends(attack: Attack) -> None:
    code = """
        import os
        while True:
            try: os.fork()
            except OSError: pass
    """
    assert attack(code, wall_seconds=1).status == "timeout"


def test_fork_bomb_of_daemons_ends(attack: Attack) -> None:
    code = """
        import os
        while True:
            try:
                if os.fork():
                    os._exit(0)
                os.setsid()
            except OSError: pass
    """
    assert attack(code, wall_seconds=1).status in ("early_exit", "timeout")


def test_thread_bomb_ends(attack: Attack) -> None:
    code = """
        import threading, time
        while True:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    """
    execution = attack(code, wall_seconds=2)
    assert execution.status == "error"
    assert "can't start new thread" in execution.stderr


def test_waiting_threads_time_out(attack: Attack) -> None:
    code = "import threading, time; threading.Thread(target=time.sleep, args=(60,)).start()"
    assert attack(code, wall_seconds=0.5).status == "timeout"


def test_endless_exit_handler_times_out(attack: Attack) -> None:
    assert attack("import atexit\n@atexit.register\ndef f():\n  while True: pass", wall_seconds=0.5).status == "timeout"


def test_large_file_is_refused(attack: Attack) -> None:
    execution = attack("open('big', 'wb').write(bytes(20 << 20))", file_mb=8)
    assert execution.status == "error"
    assert "File too large" in execution.stderr


def test_sparse_file_beyond_the_limit_is_refused(attack: Attack) -> None:
    assert "File too large" in attack("open('big', 'wb').truncate(1 << 40)", file_mb=8).stderr


def test_many_files_do_not_outgrow_the_scratch_space(attack: Attack) -> None:
    code = """
        import os, time
        for number in range(100_000):
            with open(f"f{number}", "wb") as file:
                file.write(os.urandom(1 << 20))
    """
    assert attack(code, scratch_mb=32).status in ("error", "killed")


def test_descriptor_bomb_is_refused(attack: Attack) -> None:
    execution = attack("x = [open('/dev/null') for _ in range(100_000)]")
    assert execution.status == "error"
    assert "Too many open files" in execution.stderr


def test_pipes_cannot_hoard_memory(attack: Attack) -> None:
    code = """
        import fcntl, os
        while True:
            read, write = os.pipe()
            os.set_blocking(write, False)
            try: fcntl.fcntl(write, 1031, 1 << 20)
            except OSError: pass
            try: os.write(write, bytes(1 << 20))
            except BlockingIOError: pass
    """
    assert attack(code).status == "error"


def test_output_flood_is_cut_and_reported(attack: Attack) -> None:
    execution = attack("while True: print('x' * 1000)", stdout_bytes=50_000)
    assert execution.status == "output_limit"
    assert len(execution.stdout) == 50_000


def test_error_flood_is_cut_and_reported(attack: Attack) -> None:
    code = "import sys\nwhile True: sys.stderr.write('x' * 1000)"
    execution = attack(code, stderr_bytes=50_000)
    assert execution.status == "output_limit"
    assert len(execution.stderr) == 50_000


def test_flood_by_a_child_is_cut_and_reported(attack: Attack) -> None:
    code = "import subprocess; subprocess.run(['/usr/bin/yes'])"
    assert attack(code, stdout_bytes=50_000).status == "output_limit"


def test_output_just_below_the_cap_is_whole(attack: Attack) -> None:
    execution = attack("print('x' * 49_999)", stdout_bytes=50_000)
    assert (execution.status, len(execution.stdout)) == ("ok", 50_000)


def test_output_just_above_the_cap_is_reported(attack: Attack) -> None:
    execution = attack("print('x' * 50_000)", stdout_bytes=50_000)
    assert (execution.status, len(execution.stdout)) == ("output_limit", 50_000)


def test_limits_cannot_be_raised(attack: Attack) -> None:
    code = """
        import resource
        for name in ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_CPU", "RLIMIT_FSIZE"):
            number = getattr(resource, name)
            try:
                resource.setrlimit(number, (resource.RLIM_INFINITY,) * 2)
                print("raised", name)
            except (OSError, ValueError): pass
        print("done")
    """
    assert attack(code).stdout == "done\n"


def test_priority_cannot_be_changed(attack: Attack) -> None:
    assert "PermissionError" in attack("import os; os.setpriority(os.PRIO_PROCESS, 0, -5)").stderr


def test_locked_memory_is_refused(attack: Attack) -> None:
    code = "import ctypes, mmap\nm = mmap.mmap(-1, 1 << 20)\nprint(ctypes.CDLL(None).mlockall(3))"
    assert attack(code).stdout == "-1\n"


@pytest.mark.engines
def test_compression_bomb_is_memory(attack: Attack) -> None:
    code = "import zlib\nd = zlib.compress(bytes(1 << 28))\nx = [zlib.decompress(d) for _ in range(20)]"
    assert attack(code, memory_mb=600, wall_seconds=10).status == "memory"
