from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from calmstorm.cli import main
from calmstorm.records import Author, LabelStatus, Problem, Span, SpanKind, StopReason, Trajectory

DATA = Path(__file__).parents[1] / "data" / "flaws"
HALVES = ("development", "reporting")


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def labelled(half: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / f"{half}.jsonl").read_text(encoding="utf-8").splitlines()]


def against(half: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    path = str(DATA / f"{half}.jsonl")
    assert calm("flaws", "--responses", path, "--against", path, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["agreement"]
    return found


def test_the_labelled_responses_cover_every_trigger_in_two_halves_by_a_fixed_hash() -> None:
    halves = {half: labelled(half) for half in HALVES}
    rows = [row for half in halves.values() for row in half]
    counts = Counter(trigger for row in rows for trigger in row["triggers"])
    assert len(rows) >= 80
    assert len({row["id"] for row in rows}) == len({row["response"] for row in rows}) == len(rows)
    assert all(counts[trigger] >= 8 for trigger in range(1, 8))
    assert sum(not row["triggers"] for row in rows) >= 16
    strata = defaultdict(list)
    for row in rows:
        strata[row["triggers"][0] if row["triggers"] else 0].append(row["id"])
    order = [
        name
        for first in sorted(strata)
        for name in sorted(strata[first], key=lambda each: hashlib.sha256(each.encode()).hexdigest())
    ]
    assert {row["id"] for row in halves["development"]} == set(order[::2])
    assert {row["id"] for row in halves["reporting"]} == set(order[1::2])


def test_the_rules_agree_with_the_labels_as_well_as_the_document_says(capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = {half: against(half, capsys)["accuracy"] for half in HALVES}
    assert accuracy["development"] >= 0.93
    assert accuracy["reporting"] >= 0.79


def test_what_the_rules_are_sure_of_is_right_as_often_as_the_document_says(capsys: pytest.CaptureFixture[str]) -> None:
    for half, right, coverage in (("development", 1.0, 0.72), ("reporting", 0.92, 0.54)):
        path = str(DATA / f"{half}.jsonl")
        assert calm("flaws", "--responses", path, "--against", path, "--json") == 0
        shown = json.loads(capsys.readouterr().out)
        assert shown["agreement_sure"]["first_accuracy"] >= right
        assert shown["summary"]["coverage"] >= coverage
        assert shown["agreement_sure"]["responses"] == shown["summary"]["sure"]
        assert sum(row["sure"] for row in shown["results"]) == shown["summary"]["sure"]
        assert all(("doubt" in row) != row["sure"] for row in shown["results"])
        assert all(len(row["sure_triggers"]) == len(row["triggers"]) for row in shown["results"])


def test_agreement_is_printed_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(DATA / "development.jsonl")
    assert calm("flaws", "--responses", path, "--against", path, "--limit", "20") == 0
    out = capsys.readouterr().out
    assert "20 responses in common" in out
    assert "Cohen's kappa of the first trigger" in out
    assert re.search(r"sure of the first trigger, or that there is none: \d+ of 20 \(", out)
    assert re.search(r"Of the \d+ that the rules are sure of: the first trigger, or none, is that of the labels", out)
    assert "28 labels without a response" in out


def test_labels_of_other_responses_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"id": "elsewhere", "triggers": [1]}\n')
    words = ("flaws", "--responses", str(DATA / "development.jsonl"), "--against")
    assert calm(*words, str(labels)) == 2
    assert "labels none of these responses; its ids must be those of the responses" in capsys.readouterr().err
    assert calm(*words, str(tmp_path / "absent.jsonl")) == 2


def test_two_annotations_by_the_command_can_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("flaws", "--responses", str(DATA / "development.jsonl"), "--json")
    assert calm(*words) == 0
    (tmp_path / "first.json").write_text(capsys.readouterr().out)
    assert calm(*words, "--against", str(tmp_path / "first.json")) == 0
    assert json.loads(capsys.readouterr().out)["agreement"]["accuracy"] == 1.0


def evaluated(root: Path) -> Path:
    """A run with two evaluated responses, one of which breaks the protocol, and one of the curation."""
    problem = Problem(id="p", question="How many?", answer=3.0, status=LabelStatus.OPTIMAL, suite="easy")
    root.mkdir()
    (root / "problems.jsonl").write_text(problem.model_dump_json() + "\n")
    texts = [("base", 0, "\\boxed{3 boxes}"), ("base", 1, "The answer is 3."), ("curation", 0, "\\boxed{3}")]
    made = [
        Trajectory(
            problem_id="p",
            sample=sample,
            stage=stage,
            suite="easy",
            spans=(Span(author=Author.REASONER, kind=SpanKind.TEXT, text=text),),
            stop_reason=StopReason.FINISHED,
        )
        for stage, sample, text in texts
    ]
    (root / "trajectories.jsonl").write_text("".join(each.to_json() + "\n" for each in made))
    return root


def test_kept_flaws_stand_in_the_run_once_with_their_annotator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = evaluated(tmp_path / "run")
    assert calm("flaws", "--responses", str(run), "--keep", "--limit", "1", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 1
    assert calm("flaws", "--responses", str(run), "--keep") == 0
    assert "1 responses are annotated already" in capsys.readouterr().err
    rows = [json.loads(line) for line in (run / "flaws.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["suite"], row["problem_id"], row["sample"]) for row in rows] == [
        ("base", "easy", "p", 0),
        ("base", "easy", "p", 1),
    ]
    assert {row["annotator"] for row in rows} == {"rules"}
    assert 7 in rows[0]["triggers"]


def test_flaws_by_another_annotator_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = evaluated(tmp_path / "run")
    row = {
        "stage": "base",
        "suite": "easy",
        "problem_id": "p",
        "sample": 0,
        "triggers": [],
        "annotator": "llm:x@annotator-2",
    }
    (run / "flaws.jsonl").write_text(json.dumps(row) + "\n")
    assert calm("flaws", "--responses", str(run), "--keep") == 2
    assert "is by llm:x@annotator-2" in capsys.readouterr().err
    assert len((run / "flaws.jsonl").read_text().splitlines()) == 1


def test_flaws_are_kept_only_in_a_run_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("flaws", "--responses", str(DATA / "development.jsonl"), "--keep") == 2
    assert "--keep writes into a run" in capsys.readouterr().err
    assert calm("flaws", "--responses", str(tmp_path / "none"), "--keep") == 2
    assert not (tmp_path / "none").exists()


def test_rates_have_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("flaws", "--responses", str(DATA / "development.jsonl"))
    assert calm(*words, "--json") == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert list(summary["rates"]) == list(summary["ci95"]) == [str(trigger) for trigger in range(1, 8)]
    assert any(rate > 0 for rate in summary["rates"].values())
    for trigger, rate in summary["rates"].items():
        low, high = summary["ci95"][trigger]
        assert low <= rate <= high
    assert calm(*words) == 0
    assert "95 % interval" in capsys.readouterr().out
