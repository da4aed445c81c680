"""Attacks on what the host knows and keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.interpreter.conftest import MARK, ON_AARCH64, Attack


@pytest.fixture
def host_file(tmp_path: Path) -> Path:
    """A file that every user of this machine may read and write, in a place everyone can reach."""
    path = tmp_path / "secret.txt"
    path.write_text(MARK)
    path.chmod(0o666)
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == os.getuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o755)
    return path


def unreachable(execution_text: str) -> bool:
    return MARK not in execution_text


def test_environment_holds_no_secret(attack: Attack) -> None:
    execution = attack("import os; print(dict(os.environ))")
    assert execution.status == "ok"
    assert unreachable(execution.stdout)


def test_environment_of_other_processes_is_hidden(attack: Attack) -> None:
    code = """
        import glob
        for path in glob.glob("/proc/*/environ") + ["/proc/self/environ", "/proc/1/environ"]:
            try: print(open(path, "rb").read())
            except OSError: pass
    """
    assert attack(code).stdout in ("", "b''\n")


def test_proc_shows_no_process(attack: Attack) -> None:
    code = "import os\ntry: print(os.listdir('/proc'))\nexcept OSError: print([])"
    assert attack(code).stdout == "[]\n"


def test_host_file_cannot_be_read(attack: Attack, host_file: Path) -> None:
    execution = attack(f"print(open({str(host_file)!r}).read())")
    assert execution.status == "error"
    assert unreachable(execution.stdout)


def test_host_file_cannot_be_written(attack: Attack, host_file: Path) -> None:
    assert attack(f"open({str(host_file)!r}, 'w').write('gone')").status == "error"
    assert host_file.read_text() == MARK


def test_host_file_cannot_be_truncated(attack: Attack, host_file: Path) -> None:
    attack(f"import os; os.truncate({str(host_file)!r}, 0)")
    assert host_file.read_text() == MARK


def test_host_file_cannot_be_removed(attack: Attack, host_file: Path) -> None:
    assert attack(f"import os; os.unlink({str(host_file)!r})").status == "error"
    assert host_file.exists()


def test_host_file_cannot_be_renamed(attack: Attack, host_file: Path) -> None:
    assert attack(f"import os; os.rename({str(host_file)!r}, 'mine')").status == "error"
    assert host_file.exists()


def test_host_file_cannot_be_linked_into_scratch(attack: Attack, host_file: Path) -> None:
    execution = attack(f"import os; os.link({str(host_file)!r}, 'mine'); print(open('mine').read())")
    assert execution.status == "error"
    assert unreachable(execution.stdout)


def test_host_file_cannot_be_reached_by_symbolic_link(attack: Attack, host_file: Path) -> None:
    execution = attack(f"import os; os.symlink({str(host_file)!r}, 'mine'); print(open('mine').read())")
    assert execution.status == "error"
    assert unreachable(execution.stdout)


def test_host_file_mode_cannot_be_changed(attack: Attack, host_file: Path) -> None:
    before = host_file.stat().st_mode
    attack(f"import os; os.chmod({str(host_file)!r}, 0)")
    assert host_file.stat().st_mode == before


def test_host_file_times_cannot_be_changed(attack: Attack, host_file: Path) -> None:
    before = host_file.stat().st_mtime_ns
    attack(f"import os; os.utime({str(host_file)!r}, (1, 1))")
    assert host_file.stat().st_mtime_ns == before


def test_host_file_attributes_cannot_be_changed(attack: Attack, host_file: Path) -> None:
    attack(f"import os; os.setxattr({str(host_file)!r}, 'user.mark', b'x')")
    assert "user.mark" not in os.listxattr(host_file)


def test_host_directory_cannot_be_listed(attack: Attack, host_file: Path) -> None:
    execution = attack(f"import os; print(os.listdir({str(host_file.parent)!r}))")
    assert execution.status == "error"


def test_host_directory_gets_no_new_file(attack: Attack, host_file: Path) -> None:
    host_file.parent.chmod(0o777)
    attack(f"open({str(host_file.parent / 'planted')!r}, 'w')")
    assert not (host_file.parent / "planted").exists()


def test_path_traversal_does_not_leave_scratch(attack: Attack, host_file: Path) -> None:
    execution = attack(f"print(open('../' * 20 + {str(host_file)[1:]!r}).read())")
    assert execution.status == "error"
    assert unreachable(execution.stdout)


def test_child_program_cannot_read_host_file(attack: Attack, host_file: Path) -> None:
    execution = attack(f"import subprocess; subprocess.run(['/usr/bin/cat', {str(host_file)!r}])")
    assert unreachable(execution.stdout)


@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/hostname", "/home", "/var/log", "/sys", "/run"])
def test_system_path_cannot_be_opened(attack: Attack, path: str) -> None:
    assert attack(f"import os\nos.close(os.open({path!r}, os.O_RDONLY))\nprint('opened')").stdout == ""


def test_passwd_does_not_name_the_hosts_users(attack: Attack) -> None:
    assert "root:" not in attack("print(open('/etc/passwd').read())").stdout


def test_library_cannot_be_changed(attack: Attack) -> None:
    assert attack("import pulp; open(pulp.__file__, 'a').write('# mine')").status == "error"


def test_library_gets_no_new_module(attack: Attack) -> None:
    assert attack("import os, pulp; os.mkdir(os.path.dirname(pulp.__file__) + '/planted')").status == "error"


def test_library_mode_cannot_be_changed(attack: Attack) -> None:
    import pulp

    before = Path(pulp.__file__).stat().st_mode
    attack("import os, pulp; os.chmod(pulp.__file__, 0o777)")
    assert Path(pulp.__file__).stat().st_mode == before


def test_open_library_file_mode_cannot_be_changed(attack: Attack) -> None:
    import pulp

    before = Path(pulp.__file__).stat().st_mode
    attack("import os, pulp; os.fchmod(os.open(pulp.__file__, os.O_RDONLY), 0o777)")
    assert Path(pulp.__file__).stat().st_mode == before


def test_no_descriptor_of_the_host_is_open(attack: Attack) -> None:
    code = """
        import os, stat
        for number in range(3, 1024):
            try: status = os.fstat(number)
            except OSError: continue
            assert stat.S_ISSOCK(status.st_mode) or stat.S_ISFIFO(status.st_mode), number
        print("clean")
    """
    assert attack(code).stdout == "clean\n"


def test_standard_input_is_empty(attack: Attack) -> None:
    execution = attack("input()")
    assert execution.status == "error"
    assert "EOFError" in execution.stderr


def test_device_node_cannot_be_made(attack: Attack) -> None:
    code = "import os, stat; os.mknod('disk', 0o666 | stat.S_IFBLK, os.makedev(254, 0)); open('disk', 'rb').read(1)"
    assert attack(code).status == "error"


def test_disk_device_cannot_be_opened(attack: Attack) -> None:
    code = """
        import glob
        for path in ["/dev/mem", "/dev/kmem", "/dev/kmsg", "/dev/fuse", *glob.glob("/dev/[svx]d*")]:
            try:
                open(path, "rb")
                print("opened", path)
            except OSError: pass
    """
    assert attack(code).stdout == ""


def test_no_terminal_can_be_reached(attack: Attack) -> None:
    assert attack("open('/dev/tty')").status == "error"


def test_file_cannot_be_opened_by_handle(attack: Attack) -> None:
    number = 265 if ON_AARCH64 else 304
    code = (
        f"import ctypes; l = ctypes.CDLL(None, use_errno=True); print(l.syscall({number}, 3, 0, 0), ctypes.get_errno())"
    )
    assert attack(code).stdout.startswith("-1 ")


def test_root_cannot_be_changed(attack: Attack) -> None:
    assert attack("import os; os.chroot('.')").status == "error"


def test_mounting_is_refused(attack: Attack) -> None:
    code = "import ctypes; print(ctypes.CDLL(None).mount(b'proc', b'.', b'proc', 0, None))"
    assert attack(code).stdout == "-1\n"


def test_unmounting_is_refused(attack: Attack) -> None:
    assert attack("import ctypes, os; print(ctypes.CDLL(None).umount2(os.getcwd().encode(), 2))").stdout == "-1\n"


def test_program_written_to_scratch_cannot_be_executed(attack: Attack) -> None:
    code = """
        import os, shutil, subprocess
        shutil.copyfile("/usr/bin/true", "mine")
        os.chmod("mine", 0o755)
        subprocess.run(["./mine"], check=True)
        print("ran")
    """
    execution = attack(code)
    assert execution.stdout == ""
    assert "PermissionError" in execution.stderr


def test_raising_privileges_by_setuid_programs_fails(attack: Attack) -> None:
    code = "import subprocess; print(subprocess.run(['/usr/bin/su', '-c', 'id'], capture_output=True).returncode != 0)"
    assert attack(code).stdout in ("True\n", "")


def test_becoming_root_is_refused(attack: Attack) -> None:
    assert attack("import os; os.setuid(0)").status == "error"


def test_groups_cannot_be_changed(attack: Attack) -> None:
    assert attack("import os; os.setgroups([0])").status == "error"


def test_no_capability_is_left_but_to_read(attack: Attack) -> None:
    code = """
        import ctypes, struct
        header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0), 8)
        data = ctypes.create_string_buffer(24)
        ctypes.CDLL(None).capget(header, data)
        effective, permitted, inheritable, *_ = struct.unpack("6I", data.raw)
        print((effective | permitted | inheritable) & ~(1 << 2))
    """
    assert attack(code).stdout == "0\n"


def test_labels_shipped_with_the_package_are_hidden(attack: Attack, tier: str) -> None:
    if tier == "landlock":
        pytest.skip("Landlock cannot take a directory out of a readable tree; named in docs/interpreter.md")
    import calmstorm

    package = str(Path(calmstorm.__file__).parent)
    code = f"import os\nprint(os.listdir({package!r}) if os.path.exists({package!r}) else [])"
    assert attack(code).stdout == "[]\n"
