"""What `calm rl` says before anything is trained: which engine is missing, and what would be done."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from calmstorm.cli import main

pytestmark = pytest.mark.skipif(find_spec("verl") is not None, reason="is about an environment with TRL")


def calm(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    rows = [{"id": f"p{number}", "question": f"How many are {number} and 1?", "answer": number} for number in range(24)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_engine_that_is_not_installed_is_named_with_its_extra(
    tmp_path: Path, problems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert calm("rl", run, "--recipe", "pocket", "--problems", problems, "--engine", "verl") == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(
        "calm: rl.engine is 'verl', and verl is not installed here; its extra 'verl' excludes 'train'"
    )
    assert "pip install 'calmstorm[verl]'" in said
    assert "\n" not in said
    assert not run.exists()


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    tmp_path: Path, problems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["rl", run, "--recipe", "pocket", "--problems", problems, "--set", "rl.steps=3", "--dry-run", "--json"]
    assert calm(*words) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["engine"], shown["problems"], shown["steps"]) == ("trl", 24, 3)
    assert shown["rl.prompts_per_step"] == 12
    assert not run.exists()


def test_a_dry_run_refuses_what_the_training_would_refuse(
    tmp_path: Path, problems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--set", "rl.prompts_per_step=32", "--set", "rl.mini_batch=32"]
    assert calm("rl", tmp_path / "run", "--recipe", "pocket", "--problems", problems, *sizes, "--dry-run") == 2
    assert "a step takes prompts_per_step = 32" in capsys.readouterr().err
