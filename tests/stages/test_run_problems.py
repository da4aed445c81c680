"""Where the problems of a run come from, and that a resumed run has the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from calmstorm.errors import InputError
from calmstorm.problems.files import write_problems
from calmstorm.records import LabelStatus, Problem
from calmstorm.runs import RunDirectory
from calmstorm.settings import load_recipe
from calmstorm.stages import collect_problems, keep_problems

SMALL = {"problems.sft": "3", "problems.rl": "2", "problems.easy": "2", "problems.complex": "1"}


def problem(name: str, suite: str = "nl4opt", question: str = "How many?") -> Problem:
    return Problem(id=name, question=f"{question} {name}", answer=1.0, status=LabelStatus.OPTIMAL, suite=suite)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    folder = tmp_path / "split"
    folder.mkdir()
    for part, count in (("sft", 4), ("rl", 4), ("test", 3)):
        write_problems(folder / f"{part}.jsonl", [problem(str(index)) for index in range(count)])
    return folder


def ids(run: RunDirectory) -> list[str]:
    return [stored.id for stored in run.read("problems", Problem)]


def test_generated_problems_are_drawn_once_and_read_back(tmp_path: Path) -> None:
    recipe = load_recipe("pocket", SMALL)
    with RunDirectory(tmp_path / "run") as run:
        first = collect_problems(run, recipe)
        again = collect_problems(run, recipe)
        stored = ids(run)
    assert first == again
    assert [len(part) for part in first] == [3, 2, 3]
    assert {test.suite for test in first.test} == {"easy", "complex"}
    assert stored == [drawn.id for part in first for drawn in part]


@pytest.mark.parametrize("stored", [1, 4, 6])
def test_generated_problems_that_an_interrupted_run_lacks_are_the_same_ones(tmp_path: Path, stored: int) -> None:
    recipe = load_recipe("pocket", SMALL)
    with RunDirectory(tmp_path / "whole") as run:
        whole = collect_problems(run, recipe)
    with RunDirectory(tmp_path / "killed") as run:
        for drawn in [drawn for part in whole for drawn in part][:stored]:
            run.append("problems", drawn)
        assert collect_problems(run, recipe) == whole


def test_the_parts_of_a_split_are_the_problems_of_a_run(tmp_path: Path, split: Path) -> None:
    recipe = load_recipe("pocket", {**SMALL, "problems.source": str(split)})
    with RunDirectory(tmp_path / "run") as run:
        parts = collect_problems(run, recipe)
        assert collect_problems(run, recipe) == parts
        stored = ids(run)
    assert [len(part) for part in parts] == [3, 2, 3]
    assert [read.id for read in parts.sft] == ["sft-nl4opt-0", "sft-nl4opt-1", "sft-nl4opt-2"]
    assert parts.rl[0].suite == "nl4opt"
    assert len(stored) == len(set(stored)) == 8


def test_a_source_that_is_no_split_is_refused_with_the_file_that_is_missing(tmp_path: Path, split: Path) -> None:
    (split / "rl.jsonl").unlink()
    recipe = load_recipe("pocket", {"problems.source": str(split)})
    with RunDirectory(tmp_path / "run") as run, pytest.raises(InputError, match=r"holds no rl\.jsonl.*calm problems"):
        collect_problems(run, recipe)


def test_a_source_that_changed_since_the_run_began_is_refused(tmp_path: Path) -> None:
    with RunDirectory(tmp_path) as run:
        assert keep_problems(run, [problem("a"), problem("b")]) == {"a", "b"}
        assert keep_problems(run, [problem("b"), problem("c")]) == {"b", "c"}
        with pytest.raises(InputError, match="problem a has another text in this run"):
            keep_problems(run, [problem("a", question="How few?")])
        assert ids(run) == ["a", "b", "c"]


def test_a_source_that_is_a_file_is_told_from_a_folder_that_lacks_a_part(tmp_path: Path, split: Path) -> None:
    recipe = load_recipe("pocket", {"problems.source": str(split / "sft.jsonl")})
    with RunDirectory(tmp_path / "run") as run, pytest.raises(InputError, match=r"sft\.jsonl', no folder with parts"):
        collect_problems(run, recipe)
