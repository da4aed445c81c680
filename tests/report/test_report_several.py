"""Several runs in one report."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from calmstorm.errors import InputError
from calmstorm.report import SeveralNumbers, read_run, write_reports
from calmstorm.report.content import Content
from calmstorm.report.numbers import SuiteLabels
from calmstorm.report.run_tables import differences
from tests.report.benchmark_runs import write_evaluation


def test_report_json_of_several_runs_holds_each(evaluation_paths: list[Path], tmp_path: Path) -> None:
    written = write_reports(evaluation_paths, tmp_path / "all")
    text = (tmp_path / "all" / "report.json").read_text(encoding="utf-8")
    assert SeveralNumbers.model_validate_json(text) == written
    assert [run["run"]["name"] for run in json.loads(text)["runs"]] == ["bench-base", "bench-sft", "bench-rl"]
    assert written.runs[2] == read_run(evaluation_paths[2]).numbers
    assert not (evaluation_paths[0] / "report.json").exists()


def test_label_and_prompt_versions_stand_in_the_report(evaluation_paths: list[Path]) -> None:
    numbers = read_run(evaluation_paths[0]).numbers
    assert numbers.labels["industryor"] == SuiteLabels(versions=("industryor/sirl-v2",), problems=8)
    assert list(numbers.labels) == ["nl4opt", "mamo-easy", "mamo-complex", "industryor", "optmath"]
    assert numbers.run.prompt == "calm-1"
    assert numbers.run.kind == "evaluation"
    assert numbers.missing == ("no stage recorded its time",)
    tables = {table.key: table for table in Content([read_run(path) for path in evaluation_paths]).tables}
    assert "mamo-easy/optmath" in {row.cells[1].shown for row in tables["labels"].rows}
    settings = {row.cells[0].shown: [cell.shown for cell in row.cells[1:]] for row in tables["settings"].rows}
    assert settings["Prompt"] == ["calm-1"] * 3
    assert settings["Samples per problem"] == ["4"] * 3
    assert settings["Response tokens, at most"] == ["16,384"] * 3
    assert settings["Reasoner"][1] == "model-bench-sft at http://127.0.0.1:8000/v1"


def test_runs_that_differ_in_budget_or_labels_are_said_not_to_be_on_equal_terms(tmp_path: Path) -> None:
    first = write_evaluation(tmp_path / "a", "base", problems=2, samples=1)
    second = write_evaluation(tmp_path / "b", "rl", problems=2, samples=1, response_tokens=768)
    text = (second / "problems.jsonl").read_text(encoding="utf-8")
    (second / "problems.jsonl").write_text(text.replace("nl4opt/sirl", "nl4opt/llmopt"), encoding="utf-8")
    differing = differences([read_run(first), read_run(second)])
    assert differing == [
        "the runs differ in response tokens: 16,384, 768",
        "NL4Opt was held against different labels: nl4opt/sirl; nl4opt/llmopt",
    ]
    assert differences([read_run(first), read_run(first)]) == []
    write_reports([first, second], tmp_path / "out")
    assert "Not on equal terms" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_problems_are_matched_by_text_where_runs_call_them_otherwise(
    evaluation_paths: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(evaluation_paths[1], other)
    for name in ("problems", "trajectories", "flaws"):
        text = (other / f"{name}.jsonl").read_text(encoding="utf-8")
        (other / f"{name}.jsonl").write_text(text.replace("nl4opt-", "own-"), encoding="utf-8")
    reports = [read_run(evaluation_paths[0]), read_run(other)]
    shown = Content(reports)
    entries = shown.problems
    assert len(entries) == 40
    assert all(len(entry.outcomes) == 2 and len(entry.places) == 8 for entry in entries)
    first = entries[0]
    assert [place.problem_id for _, place in first.places] == ["nl4opt-1"] * 4 + ["own-1"] * 4
    assert [entry.name for entry in entries[:8]] == [f"nl4opt-{n}" for n in range(1, 9)]
    by_suite, macro = shown.arms[1].changes_from(shown.arms[0])
    assert by_suite["nl4opt"].problems == 8
    assert macro is not None


def test_problems_with_another_label_are_other_problems(evaluation_paths: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(evaluation_paths[1], other)
    rows = [json.loads(line) for line in (other / "problems.jsonl").read_text(encoding="utf-8").splitlines()]
    rows[0]["answer"] += 1
    (other / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    reports = [read_run(evaluation_paths[0]), read_run(other)]
    shown = Content(reports)
    assert len(shown.problems) == 41
    assert shown.arms[1].changes_from(shown.arms[0])[0]["nl4opt"].problems == 7


def test_a_report_on_several_runs_does_not_replace_that_of_one(evaluation_paths: list[Path]) -> None:
    with pytest.raises(InputError, match="is a run, whose own report this one would replace"):
        write_reports(evaluation_paths, evaluation_paths[0])
    assert not (evaluation_paths[0] / "report.html").exists()


def test_page_of_an_evaluation_claims_no_training_and_says_how_to_make_it_again(evaluation_paths: list[Path]) -> None:
    from calmstorm.report import render_html

    html = render_html(Content([read_run(path) for path in evaluation_paths]))
    assert 'id="curation"' not in html
    assert "This run is not complete" not in html
    assert "An evaluation of 3 models on NL4Opt, MAMO-Easy, MAMO-Complex, IndustryOR, OptMath." in html
    assert (
        "calm eval --problems nl4opt/sirl --problems mamo-easy/optmath --problems mamo-complex/optmath "
        "--problems industryor/sirl-v2 --problems optmath/optmath --reasoner http://127.0.0.1:8000/v1 "
        "--model model-bench-base --samples 4 --seed 1 --run runs/bench-base"
    ) in html
    assert "calm report runs/bench-base runs/bench-sft runs/bench-rl --out DIRECTORY" in html


def test_no_name_of_a_run_or_a_suite_is_markup_in_a_chart(hostile_path: Path, evaluation_paths: list[Path]) -> None:
    def texts(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for item in value.values() for text in texts(item)]
        if isinstance(value, list | tuple):
            return [text for item in value for text in texts(item)]
        return [value] if isinstance(value, str) else []

    shown = Content([read_run(hostile_path), read_run(evaluation_paths[0]), read_run(hostile_path)])
    labels = [text for figure in shown.figures.values() for text in texts(figure.drawn)]
    assert any("&lt;script&gt;" in text for text in labels)
    assert {tag for text in labels for tag in re.findall(r"<[^>]*>?", text)} <= {
        "<b>",
        "</b>",
        "<br>",
        "<extra>",
        "</extra>",
    }
    assert not any(re.search(r"&(?!lt;|gt;|amp;|quot;|#x27;)", text) for text in labels)
