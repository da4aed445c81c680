from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from calmstorm.errors import InputError, ProblemFileError, WorkError
from calmstorm.problems.benchmarks import (
    benchmark_folder,
    count_differences,
    fetch,
    find_version,
    load_labelled,
    load_version,
    locate,
    require,
    versions_of,
)
from calmstorm.problems.benchmarks_results import choose_objective
from calmstorm.problems.benchmarks_table import VERSIONS, Version
from calmstorm.records import LabelStatus, Problem


def place(folder: Path, name: str, rows: list[dict[str, object]]) -> Version:
    """Puts rows where a version is looked for, and returns the version."""
    version = find_version(name)
    path = folder / version.file
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return version


def read(version: Version, folder: Path, *, as_published: bool = False) -> list[Problem]:
    return [problem for problem, _ in load_labelled(version, folder, as_published=as_published)]


def test_names_and_files_are_told_apart_and_sources_are_pinned() -> None:
    assert len({version.name for version in VERSIONS}) == len({version.file for version in VERSIONS}) == len(VERSIONS)
    for version in VERSIONS:
        assert re.fullmatch(r"[0-9a-f]{40}", version.source.revision)
        assert version.source.revision in version.address
        assert version.licence


def test_each_benchmark_has_one_default_version() -> None:
    defaults = Counter(version.benchmark for version in VERSIONS if version.default)
    assert defaults == Counter({version.benchmark for version in VERSIONS})


def test_a_bare_name_is_the_default_version_and_a_full_one_itself() -> None:
    assert find_version("NL4Opt").name == "nl4opt/sirl"
    assert find_version("nl4opt/llmopt").rows == 230
    assert {version.benchmark for version in versions_of("optibench")} == {"optibench"}


def test_an_unknown_name_is_refused_with_near_ones() -> None:
    with pytest.raises(InputError, match="'nlopt' is no benchmark; near names are nl4opt"):
        find_version("nlopt")


def test_the_folder_is_the_given_one_before_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CALM_BENCHMARKS", raising=False)
    assert benchmark_folder() is None
    monkeypatch.setenv("CALM_BENCHMARKS", str(tmp_path))
    assert benchmark_folder() == tmp_path
    (tmp_path / "mine").mkdir()
    assert benchmark_folder(tmp_path / "mine") == tmp_path / "mine"
    with pytest.raises(InputError, match="absent: is no folder; --folder must name"):
        benchmark_folder(tmp_path / "absent")


def test_a_file_that_is_not_there_is_refused_with_where_to_get_it(tmp_path: Path) -> None:
    version = find_version("optmath/optmath")
    with pytest.raises(InputError, match=r"get it from https://github.com/optsuite/OptMATH/blob/.* and put it at "):
        require(version, tmp_path)
    with pytest.raises(InputError, match="name the folder with --folder or CALM_BENCHMARKS"):
        require(version, None)


def test_a_clone_of_the_repository_is_found_too(tmp_path: Path) -> None:
    version = find_version("optmath/optmath")
    path = tmp_path / "OptMATH" / "benchmark" / "OptMATH_Bench.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps([{"en_question": "q", "en_answer": 1.5, "id": 0}]))
    assert locate(version, tmp_path) == path
    assert [problem.answer for problem in load_version(version, tmp_path)] == [1.5]


def test_problems_carry_their_benchmark_and_label_version(tmp_path: Path) -> None:
    version = place(tmp_path, "nl4opt/sirl", [{"en_question": "How\\n many \\$?", "en_answer": "12.0"}])
    (problem,) = read(version, tmp_path)
    assert (problem.suite, problem.label_version, problem.question) == ("nl4opt", "nl4opt/sirl", "How\\n many \\$?")


def test_the_magic_number_of_mamo_means_infeasible_and_elsewhere_nothing(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"en_question": "q", "en_answer": "-9999"}]
    for name, status in (("mamo-easy/sirl", "infeasible"), ("mamo-easy/optmath", "sentinel")):
        version = place(tmp_path, name, rows)
        (problem,) = read(version, tmp_path)
        assert (problem.answer, problem.status.value) == (None, status)


@pytest.mark.parametrize(
    ("answer", "tolerance"), [(204.0, 1e-3), (0.5, 0.01), (-0.5, 0.01), (0, 0.005), ("None", None)]
)
def test_a_rounded_label_has_the_tolerance_that_rounding_needs(
    tmp_path: Path, answer: object, tolerance: float | None
) -> None:
    version = place(tmp_path, "optibench/llmopt", [{"question": "q", "answer": answer}])
    (problem,) = read(version, tmp_path)
    assert problem.tolerance == (None if tolerance is None else pytest.approx(tolerance))


def test_a_missing_label_takes_its_reason_from_the_file_beside(tmp_path: Path) -> None:
    version = find_version("nlp4lp/orthought")
    (tmp_path / "nlp4lp").mkdir()
    rows = {f"p{number}": {"description": f"q {number}", "ground_truth": None} for number in range(3)}
    (tmp_path / version.file).write_text(json.dumps(rows, indent=1))
    with pytest.raises(ProblemFileError, match="needs it to tell why labels are missing"):
        read(version, tmp_path)
    reasons = [{"id": "p0", "status": "infeasible or unbounded"}, {"id": "p1", "status": "optimal", "obj": None}]
    (tmp_path / version.statuses_file).write_text("\n".join(map(json.dumps, reasons)))
    statuses = [problem.status for problem in read(version, tmp_path)]
    assert statuses == [LabelStatus.NO_OPTIMUM, LabelStatus.MISSING, LabelStatus.MISSING]


def test_the_solution_that_lpwp_keeps_as_input_stays_out_of_the_text(tmp_path: Path) -> None:
    text = "A firm needs 100 accountants at $3000, at least 5 of them senior. Minimize the wage bill."
    sample = [{"input": {"senior": 25.0, "junior": 75.0}, "output": [150000.0]}]
    version = place(tmp_path, "nl4opt/lpwp288", [{"dir": "a", "description": text, "sample": sample}])
    assert [problem.question for problem in read(version, tmp_path)] == [text]


def test_the_data_of_complexor_stand_after_the_text_and_the_answer_does_not(tmp_path: Path) -> None:
    sample = {"input": {"demand": [10, 20]}, "output": [777]}
    version = place(tmp_path, "complexor/llm4or", [{"description": "Meet the demand.", "sample": sample}])
    (problem,) = read(version, tmp_path)
    assert problem.question == 'Meet the demand.\n\nData:\n{"demand": [10, 20]}'
    assert problem.answer == 777


RESULTS: list[tuple[str, dict[str, object], float, str]] = [
    ("How many stations, and where?", {"The optimal number of stations": 2, "One in city 6": 0}, 2, "is not the obj"),
    ("Minimize the total number of taxi rides.", {"Number of taxi rides": 78, "Number of bus rides": 115}, 78, "asked"),
    ("Minimize the number of bikes.", {"Bikes needed": 80, "Cars needed": 53, "Total vehicles": 133}, 80, "asked for"),
    ("Minimize the total number of saws.", {"Miter saws": 15, "Circular saws": 11}, 11, "is not what is asked for"),
    ("Which share of each?", {"Fertilizer 1": 0.65, "Fertilizer 2": 0.35}, 0.35, "is a decision"),
    ("Maximize profit. And with new prices?", {"The maximum profit": 1, "New maximum profit": 2}, 2, "two questions"),
    ("Maximize the meals delivered.", {"Bikes": 26, "Scooters": 61, "Number of meals delivered": 513}, 513, ""),
    ("Maximize profit.", {"Chairs": 3, "The maximum profit": 90}, 90, ""),
    ("What is the best ratio?", {"Ratio": 3.5}, 3.5, ""),
    ("What is the largest area?", {"Length": 2, "Width": 3, "Area of the garden": 6}, 6, ""),
]


@pytest.mark.parametrize(("question", "results", "answer", "doubt"), RESULTS)
def test_the_objective_is_chosen_by_name_and_a_doubtful_one_is_said(
    question: str, results: dict[str, object], answer: float, doubt: str
) -> None:
    choice = choose_objective(question, results)
    assert results[choice.entry] == answer
    assert (doubt in choice.doubt) if doubt else not choice.doubt


def test_the_last_entry_is_taken_when_asked_for(tmp_path: Path) -> None:
    question, results = RESULTS[1][:2]
    row = {"question": question, "index": 4, "results": {key: str(value) for key, value in results.items()}}
    version = place(tmp_path, "optibench/resocratic", [row])
    assert [problem.answer for problem in read(version, tmp_path)] == [78.0]
    assert [problem.answer for problem in read(version, tmp_path, as_published=True)] == [115.0]
    assert "asked for" in next(load_labelled(version, tmp_path)).doubt


@pytest.mark.parametrize(
    ("name", "rows", "labels"),
    [
        (
            "bwor/or-llm-agent",
            [{"en_question": "q", "cn_question": "c", "en_answer": "No Best Solution", "id": 7}],
            None,
        ),
        ("retailopt/reloop", [{"en_question": "q", "en_answer": 4.5, "scenario_id": "7"}], 4.5),
    ],
)
def test_files_known_by_description_only_are_read_by_the_shape_described(
    tmp_path: Path, name: str, rows: list[dict[str, object]], labels: float | None
) -> None:
    version = place(tmp_path, name, rows)
    assert [(each.id, each.question, each.answer) for each in read(version, tmp_path)] == [("7", "q", labels)]


def test_a_file_of_rows_by_id_is_read_by_its_keys(tmp_path: Path) -> None:
    version = find_version("logior")
    path = tmp_path / version.file
    path.parent.mkdir()
    path.write_text(json.dumps({"prob_1": {"description": "q", "ground_truth": 12, "problem_size": "toy"}}))
    assert [(each.id, each.answer) for each in read(version, tmp_path)] == [("prob_1", 12.0)]


def test_counts_that_differ_from_the_published_ones_are_said() -> None:
    version = find_version("nl4opt/sirl")
    assert count_differences(version, version.statuses) == []
    assert count_differences(version, {LabelStatus.OPTIMAL: 228}) == [
        "nl4opt/sirl: 0 labels are no_optimum, published are 17"
    ]


def test_fetching_fails_in_one_line_when_the_hub_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WorkError, match="could not be fetched from the hub") as caught:
        fetch(find_version("nl4opt/hf2024"))
    assert "\n" not in str(caught.value)


def test_fetching_is_refused_when_a_version_is_not_on_the_hub() -> None:
    with pytest.raises(InputError, match="is not on the Hugging Face hub; get it from https:"):
        fetch(find_version("nl4opt/lpwp288"))
