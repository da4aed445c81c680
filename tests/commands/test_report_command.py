from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from calmstorm.cli import main
from calmstorm.records import Author, Span, SpanKind, StopReason, Trajectory, Verdict, VerdictStatus


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def evaluated(stage: str, suite: str, sample: int, *, correct: bool) -> Trajectory:
    return Trajectory(
        problem_id=f"{suite}-{sample}",
        sample=0,
        stage=stage,
        suite=suite,
        spans=(Span(author=Author.REASONER, kind=SpanKind.TEXT, text="I think so."),),
        stop_reason=StopReason.FINISHED,
        verdict=Verdict(
            correct=correct,
            expected=1.0,
            got=1.0,
            tolerance=1e-3,
            status=VerdictStatus.CORRECT if correct else VerdictStatus.WRONG,
        ),
    )


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    root = tmp_path / "run"
    root.mkdir()
    made = [
        evaluated(stage, suite, sample, correct=sample % 2 == 0)
        for stage in ("base", "sft")
        for suite in ("easy", "[red]complex")
        for sample in range(4)
    ]
    (root / "trajectories.jsonl").write_text(
        "".join(trajectory.to_json() + "\n" for trajectory in made), encoding="utf-8"
    )
    return root


def test_summary_names_stages_suites_and_what_is_missing(run_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("report", str(run_path)) == 0
    shown = capsys.readouterr()
    for word in ("base", "sft", "easy", "[red]complex", "macro average", "50.0%"):
        assert word in shown.out
    assert "missing: the rl model has not been evaluated" in shown.err
    assert (run_path / "report.html").stat().st_size > 1_000_000
    assert json.loads((run_path / "report.json").read_text(encoding="utf-8"))["macro"]["base"]["pass_at_1"] == 0.5


def test_json_on_stdout_is_report_json_and_nothing_else(run_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("report", str(run_path), "--json") == 0
    written = json.loads((run_path / "report.json").read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out) == written


@pytest.mark.parametrize("command", ["report", "studio"])
def test_missing_run_ends_with_status_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert calm(command, str(tmp_path / "no-run")) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "no-run" in shown.err
    assert list(tmp_path.iterdir()) == []


def test_damaged_run_ends_with_status_1_and_one_line(run_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_path / "trajectories.jsonl").write_text("{}\n", encoding="utf-8")
    assert calm("report", str(run_path)) == 1
    assert "line 1" in capsys.readouterr().err
    assert not (run_path / "report.html").exists()


def test_several_runs_are_reported_into_a_folder_of_their_own(
    run_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(run_path, other)
    assert calm("report", str(run_path), str(other)) == 2
    assert "name a folder for it with --out" in capsys.readouterr().err
    out = tmp_path / "both"
    assert calm("report", str(run_path), str(other), "--out", str(out)) == 0
    shown = capsys.readouterr()
    assert "other: missing: the rl model has not been evaluated" in shown.err
    assert "run" in shown.out
    assert [run["run"]["name"] for run in json.loads((out / "report.json").read_text())["runs"]] == ["run", "other"]
    assert (out / "report_files" / "tables" / "table-2.tex").is_file()
    assert not (run_path / "report.html").exists()


def test_pages_of_problems_are_left_out_when_they_are_not_wanted(run_path: Path) -> None:
    assert calm("report", str(run_path), "--no-pages") == 0
    assert list((run_path / "report_files" / "problems").iterdir()) == []
    assert calm("report", str(run_path)) == 0
    assert len(list((run_path / "report_files" / "problems").iterdir())) == 8


def test_a_folder_that_cannot_be_written_ends_with_status_2_and_one_line(
    run_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert calm("report", str(run_path), "--out", str(tmp_path / "file" / "out")) == 2
    assert "name a folder that can be written with --out" in capsys.readouterr().err.splitlines()[-1]
