from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calmstorm.errors import ProblemFileError
from calmstorm.evaluation import agreement, cohens_kappa, read_labels


def test_the_same_labels_agree_wholly_whatever_their_order() -> None:
    found = agreement({"a": [1, 7], "b": [], "c": [5]}, {"c": [5], "b": [], "a": [7, 1]})
    assert found is not None
    assert (found.accuracy, found.responses) == (1.0, 3)
    assert found.triggers[7].precision == found.triggers[7].recall == found.triggers[7].kappa == 1.0
    assert found.triggers[2].kappa is None  # neither ever names it


def test_precision_and_recall_take_the_first_annotator_as_the_truth() -> None:
    people = {"a": [4], "b": [4], "c": [4], "d": [], "e": [1]}
    rules = {"a": [4], "b": [], "c": [4], "d": [4], "e": [1, 4], "x": [2]}
    found = agreement(people, rules)
    assert found is not None
    four = found.triggers[4]
    assert (four.both, four.first_only, four.second_only) == (2, 1, 2)
    assert four.precision == 0.5
    assert four.recall == pytest.approx(2 / 3)
    assert found.triggers[2].precision is None
    assert (found.accuracy, found.only_first, found.only_second) == (0.4, 0, 1)
    assert found.accuracy_ci95[0] < 0.4 < found.accuracy_ci95[1]


def test_kappa_is_what_the_textbook_s_example_says() -> None:
    counts = {(1, 1): 20, (1, 0): 5, (0, 1): 10, (0, 0): 15}  # observed 0.7, by chance 0.5
    pairs = np.array([pair for pair, count in counts.items() for _ in range(count)])
    assert cohens_kappa(pairs) == pytest.approx(0.4)
    assert cohens_kappa(np.array([[3, 3], [3, 3]])) is None


def test_kappa_of_annotators_who_guess_is_near_zero_and_its_interval_covers_it() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(40):
        draw = rng.integers(1, 4, (60, 2))
        sides = [{str(n): [int(each)] for n, each in enumerate(column)} for column in draw.T]
        found = agreement(*sides)
        assert found is not None
        assert found.kappa is not None
        assert found.kappa_ci95 is not None
        covered += found.kappa_ci95[0] <= 0 <= found.kappa_ci95[1]
    assert covered >= 35


def test_annotators_without_a_common_response_are_not_compared() -> None:
    assert agreement({"a": [1]}, {"b": [1]}) is None


def test_labels_are_read_from_rows_and_from_what_the_command_prints(tmp_path: Path) -> None:
    rows = [{"id": "a", "triggers": [4, 7]}, {"id": "b", "triggers": []}, {"id": "c", "triggers": None}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_labels(tmp_path / "rows.jsonl") == {"a": (4, 7), "b": ()}
    run = [{"id": "a", "stage": "base", "sample": n, "round": 0, "triggers": [n + 1]} for n in range(2)]
    (tmp_path / "run.json").write_text(json.dumps({"results": run, "summary": {"responses": 2}}))
    assert read_labels(tmp_path / "run.json") == {
        "a, stage base, sample 0, round 0": (1,),
        "a, stage base, sample 1, round 0": (2,),
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a"}, "has no id or no triggers"),
        ({"id": "a", "triggers": [8]}, r"triggers is \[8\]; give a list of numbers from 1 to 7"),
        ({"id": "a", "triggers": "4"}, "triggers is '4'"),
        ({"id": "z", "triggers": [1]}, "z is labelled already"),
    ],
)
def test_labels_that_are_none_are_refused_in_a_line(row: dict[str, object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps({"id": "z", "triggers": []}) + "\n" + json.dumps(row) + "\n")
    with pytest.raises(ProblemFileError, match=message):
        read_labels(path)
