"""Every published file by its path alone, as a user would name one, where the folder of benchmark data is at hand."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from calmstorm.errors import ProblemFileError
from calmstorm.grading import check_problems
from calmstorm.problems.benchmarks_table import VERSIONS
from calmstorm.problems.files import load_problems
from calmstorm.problems.rows import read_rows
from calmstorm.records import LabelStatus

FOLDER = Path(os.environ.get("CALM_BENCHMARKS") or Path(__file__).parents[3] / "shared" / "benchmarks")

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the benchmark data is not here: set CALM_BENCHMARKS to its folder"
)

ODD_NUMBERS = [
    ("nl4opt/packed_llm4or_lpwp288.jsonl", 36, 0),
    ("nlp4lp/packed_llm4or_nlp4lp269.jsonl", 20, 0),
    ("nlp4lp/orthought__summary_nlp4lp.json", 6, 0),
    ("mamo_easylp/mamo__mamo_easy_lp.jsonl", 0, 1),
    ("mamo_easylp/llmopt__mamo_easy_test.jsonl", 4, 1),
    ("industryor/sirl__IndustryOR_fixedV2.json", 0, 1),
    ("optmath_bench/optmath__OptMATH_Bench.json", 9, 20),
    ("optmath_bench/sirl__OptMATH_Bench_193.jsonl", 11, 20),
    ("optmath_bench/optimind__optimind_cleaned_classified_optmath.csv", 6, 0),
    ("optibench/sirl__OptiBench.jsonl", 18, 0),
    ("optibench/alphaopt__optibench.json", 6, 0),
    ("complexor/packed_llm4or_complexor44.jsonl", 2, 0),
    ("icml_task3/llmopt__task3_test.jsonl", 5, 2),
]
NOT_PROBLEMS: dict[str, int | str] = {
    "MANIFEST.csv": 68,
    "complexor/packed_orthought_answers.jsonl": 18,
    "derived/label_matrix.csv": 11_637,
    "derived/near_duplicates_within.csv": 93,
    "derived/optibench_flat_label_suspects.csv": 22,
    "industryor/orthought__IndustryOR_delete_prob_error_type.csv": 14,
    "industryor/orthought__IndustryOR_wrong.csv": 23,
    "industryor/packed_orthought_answers.jsonl": 83,
    "nlp4lp/orthought__nlp4lp_error_type.csv": "line 18: not valid CSV",
    "nlp4lp/orthought__nlp4lp_wrong.csv": "line 5: has 5 columns where the header has 4",
    "nlp4lp/packed_orthought_answers.jsonl": 264,
}
"""Rows of the files that hold remarks on problems and no problem texts; or what is wrong with them as published."""


def data_files() -> list[str]:
    """Every data file that is there; where nothing is, those of the table, so that the tests say what they skip."""
    there = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file())
    data = [name for name in there if Path(name).suffix in {".json", ".jsonl", ".csv", ".parquet"}]
    return data or [version.file for version in VERSIONS]


@pytest.mark.parametrize("name", data_files())
def test_a_data_file_loads_by_its_path_alone_with_the_counts_of_the_collection(name: str) -> None:
    if name in NOT_PROBLEMS:
        rows = NOT_PROBLEMS[name]
        if isinstance(rows, int):
            assert sum(1 for _ in read_rows(FOLDER / name)) == rows
        else:
            with pytest.raises(ProblemFileError, match=rows):
                list(read_rows(FOLDER / name))
        with pytest.raises(ProblemFileError, match="no column holds the problem text"):
            list(load_problems(FOLDER / name))
        return
    version = next(version for version in VERSIONS if version.file == name)
    check = check_problems(load_problems(FOLDER / name))
    expected = Counter(version.statuses)
    if version.statuses_file:  # why a label is missing stands in another file
        expected[LabelStatus.MISSING] += expected[LabelStatus.NO_OPTIMUM] + expected[LabelStatus.INFEASIBLE]
        expected[LabelStatus.NO_OPTIMUM] = expected[LabelStatus.INFEASIBLE] = 0
    if version.sentinel_means is not LabelStatus.SENTINEL:  # what a magic number means is known by the table only
        expected[LabelStatus.SENTINEL] += expected[version.sentinel_means]
        expected[version.sentinel_means] = 0
    assert check.rows == version.rows
    assert check.statuses == expected
    assert check.checked == expected[LabelStatus.OPTIMAL] + expected[LabelStatus.NO_OPTIMUM]
    assert len(check.problems) == version.blank


@pytest.mark.parametrize(("name", "zeros", "negatives"), ODD_NUMBERS)
def test_zeros_and_negative_labels_stay_numbers(name: str, zeros: int, negatives: int) -> None:
    if not (FOLDER / name).is_file():
        pytest.skip(f"{name} is not in the folder of benchmark data")
    answers = [each.answer for each in load_problems(FOLDER / name) if each.answer is not None]
    assert (answers.count(0.0), sum(answer < 0 for answer in answers)) == (zeros, negatives)


def test_results_name_the_objective_where_the_last_entry_is_a_decision() -> None:
    answers = {each.id: each.answer for each in load_problems(FOLDER / "optibench/resocratic__OptiBench.json")}
    assert [answers[each] for each in ("4", "78", "82", "423")] == [2.0, 4750.0, 22.0, 330.0]
