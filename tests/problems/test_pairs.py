"""Files of non-reflective pairs, as people have them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from calmstorm.errors import ProblemFileError
from calmstorm.problems.pairs import load_pairs

FENCED = "## Model\nmax x\n\n```python\nprint(1)\n```"


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_model_and_code_of_their_own_columns_become_one_answer(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"question": "How many?", "model": "## Model\nmax x", "code": "print(1)\n"})
    (pair,), refused = load_pairs(path)
    assert (pair.id, pair.question, pair.answer, refused) == ("1", "How many?", FENCED, [])


def test_the_frame_of_or_instruct_is_taken_off(tmp_path: Path) -> None:
    prompt = "Below is an operations research question. Build a model.\n\n# Question:\nHow many?\n\n# Response:"
    (pair,), _ = load_pairs(write(tmp_path / "a.jsonl", {"prompt": prompt, "completion": FENCED}))
    assert (pair.question, pair.answer) == ("How many?", FENCED)


def test_a_csv_with_a_column_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,Task,Model,Code\nx7,How many?,max x,"```python\nprint(1)\n```"\n')
    (pair,), _ = load_pairs(path, question="Task")
    assert (pair.id, pair.question, pair.answer) == ("x7", "How many?", "max x\n\n```python\nprint(1)\n```")


def test_rows_that_are_no_pairs_are_left_out_and_named(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"question": "A?", "completion": "only words"},
        {"question": "", "completion": FENCED},
        {"question": "C?", "completion": FENCED},
        {"question": "D?", "completion": None},
        {"id": "3", "question": "E?", "completion": FENCED},
    )
    pairs, refused = load_pairs(path)
    assert [pair.question for pair in pairs] == ["C?"]
    assert [line.split(": ")[1].split(",")[0].split(" as ")[0] for line in refused] == [
        "there is no code",
        "no column holds the problem",
        "no column holds the model",
        "the id '3' is already taken by a row above; make the ids unique",
    ]
    assert all(line.startswith(f"{path}, line ") for line in refused)


def test_a_file_without_any_pair_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"question": "A?", "answer": "5"})
    with pytest.raises(ProblemFileError, match=r"none of 1 rows is a problem with model and code \(first: .*line 1: "):
        load_pairs(path)
