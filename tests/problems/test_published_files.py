"""Every published file of NL4Opt, where the folder of benchmark data is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from calmstorm.grading import check_problems
from calmstorm.problems.files import load_problems

FOLDER = Path(os.environ.get("CALM_BENCHMARKS") or Path(__file__).parents[3] / "shared" / "benchmarks")

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the benchmark data is not here: set CALM_BENCHMARKS to its folder"
)

COUNTS = {
    "nl4opt/competition__dev.jsonl": {"missing": 99},
    "nl4opt/competition__test.jsonl": {"missing": 289},
    "nl4opt/hf2024__NL4OPT_with_optimal_solution.json": {"optimal": 223, "no_optimum": 14, "sentinel": 8},
    "nl4opt/llmopt__nl4opt_test.jsonl": {"optimal": 230},
    "nl4opt/optmath__NL4OPT.json": {"optimal": 228, "no_optimum": 17},
    "nl4opt/packed_llm4or_lpwp288.jsonl": {"optimal": 281, "missing": 7},
    "nl4opt/resocratic__NL4OPT-E.json": {"optimal": 289},
    "nl4opt/sirl__NL4OPT.jsonl": {"optimal": 228, "no_optimum": 17},
    "nlp4lp/packed_llm4or_nlp4lp269.jsonl": {"optimal": 241, "missing": 27, "sentinel": 1},
    "mamo_easylp/sirl__MAMO_EasyLP_fixed.jsonl": {"optimal": 641, "sentinel": 1},
    "mamo_complexlp/optimind__optimind_cleaned_classified_mamo_complex.csv": {"optimal": 210},
    "complexor/orthought__summary_complexor.json": {"optimal": 17, "missing": 1},
}


@pytest.mark.parametrize("name", COUNTS)
def test_a_published_file_has_its_counts_and_grades_its_own_answers(name: str) -> None:
    check = check_problems(load_problems(FOLDER / name))
    assert {status.value: count for status, count in check.statuses.items() if count} == COUNTS[name]
    assert check.checked == check.statuses["optimal"] + check.statuses["no_optimum"]
    assert check.problems == ()


def test_the_files_of_nl4opt_are_all_checked() -> None:
    there = {f"nl4opt/{path.name}" for path in (FOLDER / "nl4opt").iterdir() if path.suffix in {".json", ".jsonl"}}
    assert there <= COUNTS.keys()


def test_results_name_the_objective_where_the_last_entry_is_a_decision() -> None:
    answers = {each.id: each.answer for each in load_problems(FOLDER / "optibench/resocratic__OptiBench.json")}
    assert [answers[each] for each in ("4", "78", "82", "423")] == [2.0, 4750.0, 22.0, 330.0]
