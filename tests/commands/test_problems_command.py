from __future__ import annotations

import json
from pathlib import Path

import pytest

from calmstorm.cli import main

ROWS = [
    {"id": "1", "prompt": "p one", "result": 12},
    {"id": "2", "prompt": "p two", "result": "No Best Solution"},
    {"id": "3", "prompt": "p three", "result": None},
]


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_check_counts_rows_and_statuses(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("problems", "check", own, "--question", "prompt", "--answer", "result", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["rows"], got["checked"], got["problems"]) == (3, 2, [])
    assert got["statuses"] == {
        "optimal": 1,
        "no_optimum": 1,
        "infeasible": 0,
        "unbounded": 0,
        "missing": 1,
        "sentinel": 0,
    }


def test_check_fails_when_a_text_is_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gap.csv"
    path.write_text("question,answer\nHow many?,1\n,\n")
    assert calm("problems", "check", str(path)) == 1
    assert "2: the problem text is empty" in capsys.readouterr().out


def test_list_and_show_print_what_the_file_holds(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("problems", "list", own, "--json") == 0
    assert [row["label"] for row in json.loads(capsys.readouterr().out)["problems"]] == [12.0, "no_optimum", None]
    assert calm("problems", "list", own) == 0
    assert "p three" in capsys.readouterr().out
    assert calm("problems", "show", own, "2") == 0
    assert "p two\n\nlabel: no_optimum" in capsys.readouterr().out
    assert calm("problems", "show", own, "9") == 2
