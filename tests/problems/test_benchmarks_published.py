"""Every published file, where the folder of benchmark data is at hand."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from calmstorm.errors import ProblemFileError
from calmstorm.grading import check_problems
from calmstorm.problems.benchmarks import count_differences, find_version, load_labelled, load_version, locate
from calmstorm.problems.benchmarks_table import VERSIONS, Kind, Version
from calmstorm.problems.texts import text_key
from calmstorm.records import LabelStatus

FOLDER = Path(os.environ.get("CALM_BENCHMARKS") or Path(__file__).parents[3] / "shared" / "benchmarks")
NO_PROBLEMS = {"MANIFEST.csv", "README.md", "orthought__IndustryOR_wrong.csv", "orthought__nlp4lp_wrong.csv"}
NO_PROBLEMS |= {"orthought__IndustryOR_delete_prob_error_type.csv", "orthought__nlp4lp_error_type.csv"}

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the benchmark data is not here: set CALM_BENCHMARKS to its folder"
)


def here(version: Version) -> Path:
    path = FOLDER / version.file
    if not path.is_file():
        pytest.skip(f"{version.file} is not in the folder of benchmark data")
    return path


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_version_has_its_published_counts_and_grades_its_own_answers(version: Version) -> None:
    here(version)
    result = check_problems(load_version(version, FOLDER))
    assert result.rows == version.rows
    assert count_differences(version, result.statuses) == []
    assert len(result.problems) == version.blank
    assert (
        result.checked == version.rows - version.statuses[LabelStatus.MISSING] - version.statuses[LabelStatus.SENTINEL]
    )


def test_every_data_file_of_the_folder_is_in_the_table() -> None:
    known = {version.file for version in VERSIONS} | {version.statuses_file for version in VERSIONS}
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    left = {name for name in files - known if not name.startswith("derived/") and "LICENSE" not in name}
    assert {Path(name).name for name in left} <= NO_PROBLEMS


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_broken_copy_is_refused_in_one_line_that_names_it(version: Version, tmp_path: Path) -> None:
    good = here(version).read_bytes()
    middle = good.index(b" ", len(good) // 2)
    broken = {"cut": good[: middle + 1], "empty": b"", "bytes": good[:middle] + b"\xff\xfe" + good[middle:]}
    for what, content in broken.items():
        path = tmp_path / f"{what}{Path(version.file).suffix}"
        path.write_bytes(content)
        (tmp_path / Path(version.statuses_file or "none").name).write_text('{"id": "x", "status": "optimal"}')
        if what == "bytes" and path.suffix == ".parquet":
            continue  # not a text
        with pytest.raises(ProblemFileError) as caught:
            list(load_version(version, None, path=path))
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_texts_and_labels_are_those_that_were_recorded_for_every_row() -> None:
    matrix = FOLDER / "derived" / "label_matrix.csv"
    if not matrix.is_file():
        pytest.skip("derived/label_matrix.csv is not in the folder of benchmark data")
    recorded: dict[str, list[dict[str, str]]] = {}
    with matrix.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            recorded.setdefault(row["file"], []).append(row)
    compared = 0
    for version in VERSIONS:
        rows = recorded.get(version.file, [])
        if rows and locate(version, FOLDER) is None:
            assert sum(row["answer_float"] != "" for row in rows) == version.statuses[LabelStatus.OPTIMAL]
            assert len(rows) == version.rows
            continue
        problems = [problem for problem, _ in load_labelled(version, FOLDER, as_published=True)] if rows else []
        assert [text_key(problem.question) for problem in problems] == [row["text_sha1_12"] for row in rows]
        for problem, row in zip(problems, rows, strict=True):
            number = float(row["answer_float"]) if row["answer_float"] else None
            if problem.status is not LabelStatus.OPTIMAL:
                assert number is None or number in (-9999, -99999) or abs(number) > 1e20
            else:
                assert problem.answer == pytest.approx(number, rel=1e-12)
        compared += len(rows)
    assert compared > 11_000


def test_the_suspects_of_optibench_are_those_found_by_reading() -> None:
    listed = FOLDER / "derived" / "optibench_flat_label_suspects.csv"
    if not listed.is_file():
        pytest.skip("the list of suspects is not in the folder of benchmark data")
    version = find_version("optibench/resocratic")
    with listed.open(encoding="utf-8", newline="") as file:
        read = {row["index"]: row["suggested_objective"] for row in csv.DictReader(file)}
    labelled = list(load_labelled(version, FOLDER))
    problems = {problem.id: problem for problem, _ in labelled}
    assert {problem.id for problem, doubt in labelled if doubt} == set(read)
    right = [id for id, objective in read.items() if objective and problems[id].answer == float(objective)]
    assert len(right) == 14  # the other three with an objective need a sum that stands nowhere


def test_rounded_versions_agree_with_the_exact_ones_within_their_tolerance() -> None:
    exact = {text_key(problem.question): problem for problem in load_version(find_version("optmath/optmath"), FOLDER)}
    rounded = list(load_version(find_version("optmath/llmopt"), FOLDER))
    assert all(problem.tolerance is not None for problem in rounded)
    for problem in rounded:
        label, twin = problem.answer or 0.0, exact[text_key(problem.question)]
        assert twin.answer is not None
        assert abs(twin.answer - label) <= (problem.tolerance or 0) * (abs(label) or 1.0) * (1 + 1e-9)


def test_kinds_say_what_a_version_is_for() -> None:
    kinds = Counter(version.kind for version in VERSIONS)
    assert kinds == {Kind.TEST: 45, Kind.TRAINING: 2, Kind.DECLARATIONS: 2}
