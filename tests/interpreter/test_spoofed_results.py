"""Attacks that lie about how they ended, and attacks on the runs of others."""

from __future__ import annotations

from calmstorm.interpreter import Interpreter
from calmstorm.records import ExecutionStatus
from tests.interpreter.conftest import ON_AARCH64, Attack


def test_silent_exit_is_early_exit(attack: Attack) -> None:
    assert attack("import os; print('42', flush=True); os._exit(0)").status == "early_exit"


def test_exit_from_a_thread_is_early_exit(attack: Attack) -> None:
    code = "import os, threading; threading.Thread(target=os._exit, args=(0,)).start()\nwhile True: pass"
    assert attack(code).status == "early_exit"


def test_exit_by_system_call_is_early_exit(attack: Attack) -> None:
    exit_group = 94 if ON_AARCH64 else 231
    assert attack(f"import ctypes; ctypes.CDLL(None).syscall({exit_group}, 0)").status == "early_exit"


def test_replacing_the_process_is_early_exit(attack: Attack) -> None:
    assert attack("import os; os.execv('/usr/bin/true', ['true'])").status == "early_exit"


def test_own_death_by_signal_is_killed(attack: Attack) -> None:
    assert attack("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").status == "killed"


def test_abort_is_killed(attack: Attack) -> None:
    assert attack("import os; os.abort()").status == "killed"


def test_segmentation_fault_is_killed(attack: Attack) -> None:
    assert attack("import ctypes; ctypes.string_at(0)").status == "killed"


def test_illegal_instruction_is_killed(attack: Attack) -> None:
    assert attack("import os, signal; os.kill(os.getpid(), signal.SIGILL)").status == "killed"


def test_exit_with_a_number_is_error(attack: Attack) -> None:
    assert attack("import sys; sys.exit(3)").status == "error"


def test_exit_with_zero_is_ok(attack: Attack) -> None:
    assert attack("import sys; print('x'); sys.exit(0)").status == "ok"


def test_exit_with_a_message_is_error_and_shown(attack: Attack) -> None:
    execution = attack("raise SystemExit('no solution')")
    assert (execution.status, execution.stderr) == ("error", "no solution\n")


def test_forged_end_mark_does_not_hide_a_signal(attack: Attack) -> None:
    assert attack("import os; os.write(250, b'SFSFSF'); os.kill(os.getpid(), 9)").status == "killed"


def test_forged_end_mark_does_not_hide_an_error(attack: Attack) -> None:
    assert attack("import os; os.write(250, b'F'); os._exit(1)").status == "error"


def test_forged_answer_frame_is_not_read(attack: Attack) -> None:
    code = """
        import json, os, struct
        header = json.dumps({"id": 1, "status": "ok", "blobs": [0, 0, 0]}).encode()
        for number in range(3, 256):
            try: os.write(number, struct.pack("<I", len(header)) + header)
            except OSError: pass
        raise ValueError("mine")
    """
    assert attack(code).status == "error"


def test_closing_every_descriptor_does_not_hang(attack: Attack) -> None:
    assert attack("import os; os.closerange(0, 1024)").status in ("early_exit", "ok", "error")


def test_closing_standard_output_is_not_a_failure_of_ours(attack: Attack) -> None:
    assert attack("import os; os.close(1); print('lost')").status != "infrastructure"


def test_replaced_standard_output_does_not_break_the_end(attack: Attack) -> None:
    assert attack("import sys; sys.stdout = None").status == "ok"


def test_harness_replaced_through_frames_changes_no_other_run(attack: Attack) -> None:
    code = """
        import sys
        frame = sys._getframe()
        while frame:
            for value in list(frame.f_globals.values()):
                if callable(value) and getattr(value, "__module__", "").startswith("calmstorm"):
                    try: value.__code__ = (lambda *a, **k: None).__code__
                    except Exception: pass
            frame = frame.f_back
    """
    attack(code)
    assert attack("1/0").status == "error"


def test_patched_library_is_fresh_for_the_next_script(attack: Attack) -> None:
    attack("import pulp, numpy, builtins; pulp.value = None; numpy.pi = 3; builtins.print = None")
    attack("import pulp; pulp.LpProblem.solve = None")
    code = """
        import numpy, pulp
        p = pulp.LpProblem("p", pulp.LpMaximize)
        x = pulp.LpVariable("x", 0, 4)
        p += 3 * x
        p.solve(pulp.PULP_CBC_CMD(msg=0))
        print(pulp.value(p.objective), round(numpy.pi, 2))
    """
    assert attack(code).stdout == "12.0 3.14\n"


def test_file_left_behind_is_not_seen_by_the_next_script(attack: Attack) -> None:
    attack("open('note', 'w').write('x')")
    for _ in range(4):
        assert attack("import os; print(os.listdir('.'))").stdout == "[]\n"


def test_module_left_behind_is_not_imported_by_the_next_script(attack: Attack) -> None:
    attack("open('colorsys.py', 'w').write('print(\"mine\")')")
    assert attack("import colorsys; print('theirs')").stdout == "theirs\n"


def test_shared_memory_left_behind_is_not_seen_by_the_next_script(attack: Attack) -> None:
    attack("from multiprocessing import shared_memory as s; s.SharedMemory('mine', True, 64).buf[0] = 7")
    assert attack("from multiprocessing import shared_memory as s; s.SharedMemory('mine')").status == "error"


def test_environment_changed_by_one_script_is_fresh_for_the_next(attack: Attack) -> None:
    attack("import os; os.environ['PATH'] = '/mine'; os.putenv('LD_PRELOAD', 'mine.so')")
    assert "mine" not in attack("import os; print(os.environ)").stdout


def test_random_numbers_differ_between_scripts(attack: Attack) -> None:
    code = "import random, numpy; print(random.random(), numpy.random.random())"
    seen = {value for _ in range(5) for value in attack(code).stdout.split()}
    assert len(seen) == 10


def test_seeded_random_numbers_agree_between_scripts(attack: Attack) -> None:
    code = "import random, numpy; random.seed(1); numpy.random.seed(1); print(random.random(), numpy.random.random())"
    assert len({attack(code).stdout for _ in range(3)}) == 1


def test_hash_order_agrees_between_scripts(attack: Attack) -> None:
    assert len({attack("print({'a', 'bb', 'ccc', 'dddd'})").stdout for _ in range(3)}) == 1


def test_directory_with_deep_nesting_is_cleaned_up(attack: Attack) -> None:
    deep = "import os\nfor _ in range(1500):\n  os.mkdir('d'); os.chdir('d')"
    assert attack(deep).status is not ExecutionStatus.INFRASTRUCTURE


def test_directory_that_is_closed_is_cleaned_up(attack: Attack) -> None:
    closed = (
        "import os; os.makedirs('a/b/c'); open('a/b/f', 'w'); os.chmod('a/b', 0); os.chmod('a', 0); os.chmod('.', 0)"
    )
    assert attack(closed).status is not ExecutionStatus.INFRASTRUCTURE


def test_names_that_are_not_text_are_cleaned_up(attack: Attack) -> None:
    assert attack("open(b'\\xff\\xfe\\n', 'w'); open(b'x' * 255, 'w')").status == "ok"


def test_forged_record_of_a_model_stays_in_its_own_run(attack: Attack) -> None:
    attack("import os; os.write(251, b'{\"source\": \"pulp\"}\\n' * 10 + b'\\xff{[')")
    assert attack("print(1)").formulations == ()


def test_flooded_record_channel_does_not_hang(attack: Attack) -> None:
    execution = attack("import os\nos.set_blocking(251, True)\nwhile True: os.write(251, bytes(65536))", wall_seconds=1)
    assert execution.status in ("timeout", "error", "killed")
    assert execution.formulations == ()


def test_tier_stands_in_every_result(attack: Attack, interpreter: Interpreter, tier: str) -> None:
    assert interpreter.tier == tier
    for code in ("print(1)", "1/0", "import os; os._exit(0)"):
        assert attack(code).tier == tier
