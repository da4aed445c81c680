from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from calmstorm import __version__, cli
from calmstorm.errors import InfrastructureError, InputError, MissingExtraError, WorkError


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return int(ended.value.code or 0)


def test_help_names_every_installed_command_without_importing_any(capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("--help") == calm() == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("doctor", "problems", "eval", "report"))
    code = "import sys\nfrom calmstorm import cli\ntry: cli.main(['--help'])\nfinally: print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{heavy}'" in loaded for heavy in ("torch", "numpy", "pydantic", "scipy", "plotly"))


def command_lines(group: Any, *before: str) -> Iterator[tuple[str, ...]]:
    """Yields the words of every command and subcommand."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        yield (*before, name)
        if hasattr(command, "list_commands"):
            yield from command_lines(command, *before, name)


COMMAND_LINES = list(command_lines(typer.main.get_command(cli.build())))


def test_every_command_that_is_announced_is_there() -> None:
    assert {words[0] for words in COMMAND_LINES} == set(cli.COMMANDS)
    assert ("problems", "check") in COMMAND_LINES


@pytest.mark.parametrize("words", COMMAND_LINES, ids=" ".join)
def test_every_command_has_help(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert calm(*words, "--help") == 0
    usage, _, about = capsys.readouterr().out.partition("\n\n")
    assert usage.startswith(f"Usage: calm {' '.join(words)} ")
    assert not about.strip().startswith(("Options:", "Arguments:", "Commands:"))


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("--version") == 0
    assert capsys.readouterr().out.strip() == __version__


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["eval", "--nonsense"], "No such option: --nonsense"),
        (["eval", "--samples", "0"], "Invalid value for '--samples'"),
        (["eval"], "give one of --problems FILE|NAME, --responses FILE|RUN and --compare FIRST SECOND"),
        (["problems"], "Missing command"),
        (["problems", "show"], "Missing argument"),
        (["problems", "check", "absent.jsonl"], "absent.jsonl: No such file"),
        (["--debugg"], "No such option"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm(*words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("calm: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("x is 1; it must be 2: set x\nand more"), 2),
        (MissingExtraError("torch", "pocket"), 2),
        (WorkError("the work failed"), 1),
        (InfrastructureError("a worker died"), 1),
        (OSError(28, "No space left on device", "runs/a"), 1),
        (ZeroDivisionError("oops"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_way_to_fail_has_its_status_and_one_line(
    error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "build", fail)
    assert calm("doctor") == status
    shown = capsys.readouterr().err
    assert shown.startswith("calm: ")
    assert shown.count("\n") == 1
    assert "Traceback" not in shown
    assert calm("doctor", "--debug") == status
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_ends_the_command_quietly(tmp_path: Path) -> None:
    rows = tmp_path / "many.jsonl"
    rows.write_text('{"question": "' + "x" * 200_000 + '", "answer": 1}\n')
    command = f"{sys.executable} -m calmstorm.cli problems list {rows} --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_demo_with_one_line_and_keeps_what_was_finished(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "calmstorm.cli", "demo", "--run", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    problems = run / "problems.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None and not problems.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in shown
    assert shown.strip().splitlines()[-1].startswith("calm: interrupted")
    assert problems.read_text().endswith("}\n")
