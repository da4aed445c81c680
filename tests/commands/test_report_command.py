from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from calmstorm.commands.report import report
from calmstorm.errors import InputError
from calmstorm.records import Author, Span, SpanKind, StopReason, Trajectory, Verdict, VerdictStatus

app = typer.Typer()
app.command()(report)
runner = CliRunner()


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
    (root / "trajectories.jsonl").write_text("".join(each.to_json() + "\n" for each in made), encoding="utf-8")
    return root


def test_summary_names_stages_suites_and_what_is_missing(run_path: Path) -> None:
    done = runner.invoke(app, [str(run_path)])
    assert done.exit_code == 0
    for word in ("base", "sft", "easy", "[red]complex", "macro average", "50.0%", "missing: the rl model"):
        assert word in done.output
    assert (run_path / "report.html").stat().st_size > 1_000_000
    assert json.loads((run_path / "report.json").read_text(encoding="utf-8"))["macro"]["base"]["pass_at_1"] == 0.5


def test_json_on_stdout_is_report_json_and_nothing_else(run_path: Path) -> None:
    done = runner.invoke(app, [str(run_path), "--json"])
    assert json.loads(done.stdout) == json.loads((run_path / "report.json").read_text(encoding="utf-8"))


def test_missing_run_is_an_input_error_in_one_line(tmp_path: Path) -> None:
    done = runner.invoke(app, [str(tmp_path / "no-run")])
    assert isinstance(done.exception, InputError)
    assert "no-run" in str(done.exception)
    assert "\n" not in str(done.exception)
