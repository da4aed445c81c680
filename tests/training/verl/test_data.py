from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet

from calmstorm.errors import InputError
from calmstorm.reasoner.codec import load_tokenizer
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.reasoner.prompting import user_message
from calmstorm.records import LabelStatus, Problem
from calmstorm.training.verl.data import fitting, write_problems
from calmstorm.training.verl.recipe import RowInfo

PROBLEMS = [
    Problem(
        id=f"p{number}", question=f"How many are {number} and 1?", answer=number, status=LabelStatus.OPTIMAL, suite="s"
    )
    for number in range(3)
]


def test_a_row_holds_the_prompt_and_the_whole_problem(tmp_path: Path) -> None:
    write_problems(tmp_path / "train.parquet", PROBLEMS, "calm-1")
    rows = parquet.read_table(tmp_path / "train.parquet").to_pylist()
    assert [row["prompt"] for row in rows] == [
        [{"role": "user", "content": user_message("calm-1", problem.question)}] for problem in PROBLEMS
    ]
    infos = [RowInfo.model_validate(row["extra_info"]) for row in rows]
    assert [info.read_problem() for info in infos] == PROBLEMS
    assert [(info.index, info.held_out, info.read_annotated()) for info in infos] == [
        (n, False, None) for n in range(3)
    ]
    assert [row["reward_model"]["ground_truth"] for row in rows] == ["p0", "p1", "p2"]
    assert {row["data_source"] for row in rows} == {"s"}


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "held_out.parquet"
    write_problems(path, PROBLEMS, "calm-1")
    write_problems(path, PROBLEMS[:1], "calm-1", held_out=True)
    assert [row["extra_info"]["held_out"] for row in parquet.read_table(path).to_pylist()] == [True]
    assert [file.name for file in tmp_path.iterdir()] == ["held_out.parquet"]


def test_no_problems_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no problems"):
        write_problems(tmp_path / "train.parquet", [], "calm-1")


def test_problems_with_long_prompts_are_left_out() -> None:
    long = PROBLEMS[0].model_copy(update={"id": "long", "question": "How many? " * 200})
    tokenizer = load_tokenizer(str(pocket_directory()))
    assert fitting([*PROBLEMS, long], tokenizer, "pocket-1", 300) == PROBLEMS
