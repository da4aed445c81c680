from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calmstorm.cli import main
from calmstorm.commands import reasoners
from calmstorm.errors import InputError
from calmstorm.reasoner.protocol import Prefix, Sampling
from calmstorm.reasoner.scripted import ScriptedReasoner


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def problems(tmp_path: Path) -> str:
    rows = [
        {"id": "a", "question": "What is 6 * 7?", "answer": 42},
        {"id": "b", "question": "What is 0 * 7?", "answer": 0},
        {"id": "c", "question": "Nobody knows.", "answer": -99999},
    ]
    return write(tmp_path / "mine.jsonl", rows)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts put to a Reasoner that runs the product it is asked for and boxes what was printed."""
    prompts: list[str] = []

    def script(prefix: Prefix, sampling: Sampling) -> str:
        if "```output" not in prefix.text:
            prompts.append(prefix.text)
            return f"```python\nprint({prefix.text.split('What is ')[1].split('?')[0]})\n```\n"
        return f"\\boxed{{{prefix.text.split('```output')[1].split()[0]}}}"

    def opened(name: str, model: str | None = None) -> reasoners.Opened:
        return reasoners.Opened(ScriptedReasoner(script), None)

    monkeypatch.setattr(reasoners, "open_reasoner", opened)
    return prompts


def test_responses_made_elsewhere_are_graded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": "a", "problem": "p", "ground_truth": 15, "response": "so \\boxed{15}"},
        {"id": "b", "problem": "p", "ground_truth": 0, "response": "so \\boxed{1}"},
        {"id": "c", "problem": "p", "ground_truth": "infeasible", "response": "so \\boxed{infeasible}"},
        {"id": "d", "problem": "p", "ground_truth": None, "response": "so \\boxed{3 dollars}"},
    ]
    path = write(tmp_path / "responses.jsonl", rows)
    assert calm("eval", "--responses", path, "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["correct"], row["status"], row["protocol_ok"]) for row in got["results"]] == [
        ("a", True, "correct", True),
        ("b", False, "wrong", True),
        ("c", True, "correct", True),
        ("d", False, "ungraded", False),
    ]
    assert (got["summary"]["pass_at_1"], got["summary"]["problems"], got["summary"]["samples"]) == (2 / 3, 3, 1)
    assert calm("eval", "--responses", path) == 0
    assert "66.7%" in capsys.readouterr().out


def test_a_reasoner_is_measured_on_problems(
    problems: str, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert calm("eval", "--problems", problems, "--samples", "2", "--json") == 0
    shown = capsys.readouterr()
    got = json.loads(shown.out)
    assert {(row["problem_id"], row["sample"], row["answer"], row["correct"]) for row in got["results"]} == {
        ("a", 0, 42.0, True),
        ("a", 1, 42.0, True),
        ("b", 0, 0.0, True),
        ("b", 1, 0.0, True),
    }
    assert (got["summary"]["problems"], got["summary"]["samples"], got["summary"]["code_blocks"]) == (2, 2, 1.0)
    assert "1 of 3 rows have no usable label and are left out" in shown.err


def test_a_run_is_resumed_and_extended_without_doing_anything_twice(
    problems: str, asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "--problems", problems, "--run", str(tmp_path / "run"), "--json"]
    assert calm(*words, "--samples", "1", "--limit", "1") == 0
    assert calm(*words, "--samples", "2") == 0
    assert len(asked) == 4
    assert [json.loads(line)["id"] for line in (tmp_path / "run" / "problems.jsonl").read_text().splitlines()] == [
        "a",
        "b",
    ]
    capsys.readouterr()
    assert calm(*words, "--samples", "2") == 0
    assert len(asked) == 4
    assert len(json.loads(capsys.readouterr().out)["results"]) == 4
    assert calm(*words, "--temperature", "0") == 2
    assert "evaluation.temperature is 0.0, but this run was started with 0.6" in capsys.readouterr().err


def test_a_bad_row_is_found_before_anything_is_run(tmp_path: Path, asked: list[str]) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"id": "a", "question": "What is 1?", "answer": 1}\n{"id": "b", "ques')
    assert calm("eval", "--problems", str(path)) == 2
    assert asked == []


def test_problems_without_labels_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "open.jsonl", [{"question": "q"}])
    assert calm("eval", "--problems", path) == 2
    assert "name the column of the answer with --answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reasoner", "no/such/dir"], "it must be 'pocket', a model directory or the base URL"),
        (["--reasoner", "."], "holds no config.json"),
        (["--reasoner", "http://127.0.0.1:9/v1"], "name one with --model"),
        (["--reasoner", "pocket", "--model", "x"], "drop --model"),
        (["--tier", "castle"], "rollout.tier is 'castle'"),
    ],
)
def test_a_reasoner_that_is_none_is_refused(
    words: list[str],
    message: str,
    problems: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert calm("eval", "--problems", problems, *words) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_the_pocket_reasoner_is_measured_on_a_file_of_one_s_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        reasoners.pocket_directory()
    except InputError:
        pytest.skip("the pocket model is not built")
    text = (
        "A workshop makes desks and chairs. A desk earns 30 dollars and takes 4 hours of labor; "
        "a chair earns 20 dollars and takes 2 hours. There are 40 hours. Maximize profit."
    )
    path = write(tmp_path / "own.jsonl", [{"id": "q1", "question": text, "answer": 400}])
    assert calm("eval", "--problems", path, "--reasoner", "pocket", "--samples", "2", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert [(row["problem_id"], row["sample"]) for row in sorted(got["results"], key=lambda row: row["sample"])] == [
        ("q1", 0),
        ("q1", 1),
    ]
    assert got["summary"]["infrastructure"] == 0
