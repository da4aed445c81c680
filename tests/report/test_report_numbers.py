from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from calmstorm.errors import InputError, WorkError
from calmstorm.records import (
    Author,
    Intervention,
    Review,
    ReviewOutcome,
    Span,
    SpanKind,
    Stage,
    Trajectory,
    Trigger,
    Usage,
    VerdictStatus,
)
from calmstorm.report import RunNumbers, read_run, write_reports
from calmstorm.report.content import Content
from calmstorm.report.pages import render_html
from tests.report.synthetic_run import make_problem, solve_spans, thought, trajectory, write_run

CURATION_KEYS = (
    "problems correct_before correct_after golden hints_per_problem edited_token_share tokens_before tokens_after"
)
CELL_KEYS = {"pass_at_1", "ci95", "problems", "samples", "code_blocks", "response_tokens"}


def build_report(path: Path) -> dict[str, Any]:
    """The numbers as report.json has them."""
    return read_run(path).numbers.model_dump(mode="json")


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_report_has_the_keys_others_rely_on_when_the_run_is_complete(run_path: Path) -> None:
    report = build_report(run_path)
    assert set(CURATION_KEYS.split()) <= set(report["curation"])
    assert set(report["evaluation"]) == {"base", "sft", "rl"} == set(report["flaws"])
    for suites in report["evaluation"].values():
        assert list(suites) == ["easy", "complex"]
        assert all(set(cell) >= CELL_KEYS and len(cell["ci95"]) == 2 for cell in suites.values())
    assert all(set(rates) == set("1234567") for rates in report["flaws"].values())
    assert report["versions"]["trl"] == "1.16.0"
    assert report["missing"] == []
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_curation_counts_agree_with_a_plain_count_of_the_files(run_path: Path) -> None:
    curation = build_report(run_path)["curation"]
    rows = [row for row in lines(run_path / "trajectories.jsonl") if row["stage"] == "curation"]
    last = {(row["problem_id"], row["sample"]): row for row in sorted(rows, key=lambda row: row["round"])}
    first = [row for row in rows if row["round"] == 0]
    assert curation["problems"] == 40
    assert curation["attempts"] == len(first) == 80
    assert curation["correct_before"] == pytest.approx(sum(row["verdict"]["correct"] for row in first) / 80)
    assert curation["correct_after"] == pytest.approx(sum(row["verdict"]["correct"] for row in last.values()) / 80)
    assert curation["tokens_before"] == pytest.approx(sum(row["usage"]["completion_tokens"] for row in first) / 80)
    assert curation["golden"] == len(lines(run_path / "golden.jsonl"))
    assert curation["hints_per_problem"] == pytest.approx(len(lines(run_path / "interventions.jsonl")) / 80)
    assert sum(curation["triggers"].values()) == curation["interventions"]


def test_edited_share_is_hint_tokens_over_all_golden_tokens(run_path: Path) -> None:
    hints = tokens = 0
    for row in lines(run_path / "golden.jsonl"):
        tokens += row["trajectory"]["usage"]["completion_tokens"]
        hints += sum(len(span["token_ids"]) for span in row["trajectory"]["spans"] if span["kind"] == "hint")
    assert build_report(run_path)["curation"]["edited_token_share"] == pytest.approx(hints / tokens)


def test_token_modification_is_the_mean_of_the_golden_set(run_path: Path) -> None:
    golden = lines(run_path / "golden.jsonl")
    values = [row["token_modification"] for row in golden]
    assert build_report(run_path)["curation"]["token_modification"] == pytest.approx(sum(values) / len(values))


def test_evaluation_counts_code_blocks_and_tokens_per_response(run_path: Path) -> None:
    cell = build_report(run_path)["evaluation"]["base"]["easy"]
    rows = [r for r in lines(run_path / "trajectories.jsonl") if r["stage"] == "base" and r["suite"] == "easy"]
    blocks = sum(span["kind"] == "code" for row in rows for span in row["spans"])
    assert cell["code_blocks"] == pytest.approx(blocks / len(rows))
    assert cell["samples"] == len(rows) / 24 == 4
    assert cell["problems"] == 24
    assert cell["pass_at_1"] == pytest.approx(sum(row["verdict"]["correct"] for row in rows) / 96)
    assert cell["ci95"][0] < cell["pass_at_1"] < cell["ci95"][1]


def test_macro_average_weighs_suites_alike_and_its_interval_holds_it(run_path: Path) -> None:
    report = build_report(run_path)
    for stage, macro in report["macro"].items():
        values = [cell["pass_at_1"] for cell in report["evaluation"][stage].values()]
        assert macro["pass_at_1"] == pytest.approx(sum(values) / len(values))
        assert macro["ci95"][0] < macro["pass_at_1"] < macro["ci95"][1]


def test_times_of_a_resumed_stage_add_up(run_path: Path) -> None:
    assert build_report(run_path)["timing"]["sft"] == pytest.approx(50.5)


def test_report_names_what_is_missing_when_only_the_base_model_was_evaluated(tmp_path: Path) -> None:
    root = write_run(tmp_path / "half", curation=0, tests=3, samples=2, stages=("base",))
    for name in ("golden", "interventions", "sft", "rl", "timing"):
        (root / f"{name}.jsonl").unlink()
    numbers = write_reports([root], root).runs[0]
    assert set(numbers.evaluation) == {"base"}
    assert numbers.curation.correct_before is None
    assert "curation has not run: no hints, no golden set" in numbers.missing
    assert "the rl model has not been evaluated" in numbers.missing
    html = (root / "report.html").read_text(encoding="utf-8")
    assert "This run is not complete" in html
    assert "the sft model has not been evaluated" in html


def test_report_is_written_when_a_run_has_only_its_settings(tmp_path: Path) -> None:
    root = tmp_path / "new"
    root.mkdir()
    (root / "config.toml").write_text("seed = 1\n", encoding="utf-8")
    numbers = write_reports([root], root).runs[0]
    assert numbers.evaluation == {}
    assert len(numbers.missing) > 5
    assert "No model of this run has been evaluated yet" in (root / "report.html").read_text(encoding="utf-8")


def test_torn_last_line_is_dropped_as_a_resume_would(tmp_path: Path) -> None:
    root = write_run(tmp_path / "torn", curation=2, tests=2, samples=1)
    path = root / "trajectories.jsonl"
    whole = build_report(root)
    with path.open("ab") as file:
        file.write(path.read_bytes().splitlines(keepends=True)[0][:200])
    assert build_report(root) == whole


def test_damaged_line_is_refused_with_its_number(tmp_path: Path) -> None:
    root = write_run(tmp_path / "damaged", curation=2, tests=2, samples=1)
    path = root / "trajectories.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([rows[0], b'{"schema": 1}\n', *rows[1:]]))
    with pytest.raises(WorkError, match="line 2"):
        build_report(root)


def test_missing_run_is_refused_and_nothing_is_created(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no-run"):
        write_reports([tmp_path / "no-run"], tmp_path / "no-run")
    assert list(tmp_path.iterdir()) == []


def write_trajectories(root: Path, *trajectories: Trajectory) -> None:
    text = "".join(trajectory.to_json() + "\n" for trajectory in trajectories)
    (root / "trajectories.jsonl").write_text(text, encoding="utf-8")


def test_trajectory_finished_twice_counts_once(tmp_path: Path) -> None:
    problem = make_problem(0, "easy", "test", random.Random(1))
    one = trajectory(problem, [thought("x")], 1.0, stage="base", sample=0)
    write_trajectories(tmp_path, one, one)
    assert read_run(tmp_path).numbers.evaluation[Stage.BASE]["easy"].samples == 1


def test_failed_machinery_does_not_enter_mean_sizes(tmp_path: Path) -> None:
    problem = make_problem(0, "easy", "test", random.Random(1))
    good = trajectory(problem, solve_spans(problem, 1.0), 1.0, stage="base", sample=0)
    assert good.verdict is not None
    verdict = good.verdict.model_copy(update={"status": VerdictStatus.INFRASTRUCTURE})
    write_trajectories(tmp_path, good, good.model_copy(update={"sample": 1, "spans": (), "verdict": verdict}))
    result = read_run(tmp_path).numbers.evaluation[Stage.BASE]["easy"]
    assert (result.samples, result.code_blocks, result.infrastructure) == (1, 1.0, 1)


def test_report_json_reads_back_as_the_same_numbers(run_path: Path) -> None:
    numbers = write_reports([run_path], run_path).runs[0]
    assert RunNumbers.model_validate_json((run_path / "report.json").read_bytes()) == numbers


def test_settings_of_a_wrong_type_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('seed = "seven"\n', encoding="utf-8")
    with pytest.raises(WorkError, match="seed cannot be reported"):
        read_run(tmp_path)


def test_memory_stays_flat_when_responses_are_long(tmp_path: Path) -> None:
    problem = make_problem(0, "easy", "test", random.Random(1))
    long = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="x" * 400_000)
    root = tmp_path / "long"
    root.mkdir()
    with (root / "trajectories.jsonl").open("w", encoding="utf-8") as file:
        for sample in range(60):
            made: Trajectory = trajectory(problem, [long], 1.0, stage="base", sample=sample)
            file.write(made.to_json() + "\n")
    tracemalloc.start()
    build_report(root)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000  # the file is 24 MB


def test_trigger_of_every_intervention_is_counted(run_path: Path) -> None:
    rows = [Intervention.model_validate(row) for row in lines(run_path / "interventions.jsonl")]
    counts = build_report(run_path)["curation"]["triggers"]
    for trigger in Trigger:
        assert counts[str(int(trigger))] == sum(row.trigger is trigger for row in rows) > 0


def test_what_curation_took_and_which_reviews_failed_stand_in_the_report(tmp_path: Path) -> None:
    root = write_run(tmp_path / "paid", curation=2, tests=3, samples=1, stages=("base",))
    spent = Usage(prompt_tokens=1000, completion_tokens=50, cost=0.25)
    outcomes = (ReviewOutcome.FLAWLESS, ReviewOutcome.FAILED)
    reviews = [Review(problem_id="p", sample=n, round=0, outcome=it, usage=spent) for n, it in enumerate(outcomes)]
    (root / "reviews.jsonl").write_text("".join(review.model_dump_json() + "\n" for review in reviews))
    tables = {table.key: table for table in Content([read_run(root)]).tables}
    shown = {row.cells[0].shown: [cell.shown for cell in row.cells[1:]] for row in tables["spending"].rows}
    assert shown["Intervener"] == ["2,000", "100", "0.50"]
    assert [row.cells[-1].shown for row in tables["curation"].rows][-1] == "1"
    assert "What curation took" in render_html(Content([read_run(root)]))
