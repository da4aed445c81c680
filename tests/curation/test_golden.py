from __future__ import annotations

import json
import sys
import time

import pytest

from calmstorm.curation.export import export
from calmstorm.curation.golden import Rejection, golden_trajectory, rejection
from calmstorm.errors import InputError, MissingExtraError
from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.reasoner.prompting import user_message
from calmstorm.reasoner.scripted import ByteCodec
from calmstorm.records import (
    Author,
    Execution,
    ExecutionStatus,
    GoldenTrajectory,
    Span,
    SpanKind,
    StopReason,
    Trajectory,
    Usage,
    Verdict,
    VerdictStatus,
)
from tests.curation.curated_case import PROBLEM, Store, curate, solve, strict

RIGHT = Verdict(correct=True, expected=400.0, got=400.0, tolerance=1e-3, status=VerdictStatus.CORRECT)


def trajectory(*formulations, **changes) -> Trajectory:
    execution = Execution(
        status=ExecutionStatus.OK, stdout="400", wall_seconds=0.1, tier="unsafe", formulations=formulations
    )
    parts = {
        "problem_id": "p",
        "sample": 0,
        "stage": "curation",
        "spans": (Span(author=Author.REASONER, kind=SpanKind.TEXT, text="\\boxed{400}"),),
        "stop_reason": StopReason.FINISHED,
        "executions": (execution,),
        "answer": 400.0,
        "verdict": RIGHT,
        "usage": Usage(completion_tokens=100),
    }
    return Trajectory(**{**parts, **changes})


def judged(done: Trajectory, flawless: bool = True, most_tokens: int | None = None) -> Rejection | None:
    return rejection(done, flawless=flawless, most_tokens=most_tokens, rule="strict")


def verdict(status: VerdictStatus, **changes) -> Verdict:
    return RIGHT.model_copy(update={"correct": status is VerdictStatus.CORRECT, "status": status, **changes})


def test_a_correct_flawless_backed_response_is_golden():
    assert judged(trajectory(solve())) is None


@pytest.mark.parametrize(
    ("changes", "flawless", "most_tokens", "reason"),
    [
        ({"verdict": verdict(VerdictStatus.WRONG)}, True, None, Rejection.WRONG),
        ({"verdict": verdict(VerdictStatus.NO_ANSWER)}, True, None, Rejection.WRONG),
        ({"verdict": verdict(VerdictStatus.UNGRADED)}, True, None, Rejection.UNGRADED),
        ({"verdict": None}, True, None, Rejection.UNGRADED),
        ({"verdict": verdict(VerdictStatus.INFRASTRUCTURE)}, True, None, Rejection.INFRASTRUCTURE),
        ({"stop_reason": StopReason.INFRASTRUCTURE}, True, None, Rejection.INFRASTRUCTURE),
        ({}, False, None, Rejection.FLAWED),
        ({"stop_reason": StopReason.LENGTH}, True, None, Rejection.UNFINISHED),
        ({"stop_reason": StopReason.EXECUTIONS}, True, None, Rejection.UNFINISHED),
        ({"verdict": verdict(VerdictStatus.CORRECT, protocol_ok=False)}, True, None, Rejection.PROTOCOL),
        ({}, True, 99, Rejection.TOO_LONG),
        ({}, True, 100, None),
    ],
)
def test_every_reason_for_a_rejection_is_named(changes, flawless, most_tokens, reason):
    assert judged(trajectory(solve(), **changes), flawless, most_tokens) is reason


@pytest.mark.parametrize(
    ("formulations", "backed"),
    [
        ((solve(objective=399.9),), True),
        ((solve(objective=-400.0),), True),
        ((solve(objective=None),), True),
        ((solve(objective=390.0),), False),
        ((solve(solver_status="Infeasible"),), False),
        ((solve(solver_status="Infeasible", objective=None),), False),
        ((solve(objective=1.0), solve()), True),
        ((solve(objective=150.0), solve(objective=250.0)), True),  # the sum of two
        ((solve(objective=-150.0), solve(objective=-250.0)), True),
        ((solve(objective=650.0), solve(objective=250.0)), True),  # or their difference
        ((solve(objective=250.0), solve(objective=650.0)), True),
        ((solve(objective=200.0), solve(objective=200.0)), True),  # all that one script solved
        ((solve(objective=100.0), solve(objective=100.0), solve(objective=200.0)), True),
        ((solve(objective=150.0), solve(objective=250.0, solver_status="Infeasible")), False),
        ((solve(objective=150.0), solve(objective=251.0)), False),
        ((solve(objective=100.0), solve(objective=140.0), solve(objective=70.0), solve(objective=90.0)), True),
        ((solve(objective=100.0), solve(objective=141.0), solve(objective=70.0), solve(objective=90.0)), False),
    ],
)
def test_the_boxed_number_must_come_from_an_optimal_solve(formulations, backed):
    assert judged(trajectory(*formulations)) is (None if backed else Rejection.UNBACKED)


@pytest.mark.parametrize(
    ("status", "stdout", "backed"),
    [
        (ExecutionStatus.OK, "Total: 400\n", True),
        (ExecutionStatus.OK, "fun: -400.0004, x: [1 2]", True),
        (ExecutionStatus.OK, "the cost is $1,400 of 4.0e2.", True),
        (ExecutionStatus.OK, "1,400 and 40 and x400 and 400.5", False),
        (ExecutionStatus.OK, "", False),
        (ExecutionStatus.ERROR, "400\n", False),  # a SyntaxError prints nothing, another error may have printed
        (ExecutionStatus.TIMEOUT, "400\n", False),
    ],
)
def test_without_a_recorded_solve_a_script_that_ran_must_have_printed_the_number(status, stdout, backed):
    ran = Execution(status=status, stdout=stdout, wall_seconds=0.1, tier="unsafe")
    assert judged(trajectory(executions=(ran,))) is (None if backed else Rejection.UNBACKED)
    assert judged(trajectory(executions=(ran,), answer="infeasible")) is None


def test_an_answer_that_no_script_stands_behind_is_unbacked():
    assert judged(trajectory(executions=())) is Rejection.UNBACKED


def test_the_sums_that_are_looked_at_are_bounded():
    solves = [solve(objective=1e6 * 3**n) for n in range(30)] + [solve(objective=float(n**3)) for n in range(200, 320)]
    started = time.monotonic()
    assert judged(trajectory(*solves)) is Rejection.UNBACKED
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "changes",
    [{"verdict": verdict(VerdictStatus.CORRECT, protocol_ok=False)}, {"executions": ()}],
)
def test_the_paper_s_rule_asks_for_a_correct_and_flawless_response_alone(changes):
    done = trajectory(**changes)
    assert rejection(done, flawless=True, most_tokens=None, rule="paper") is None
    assert rejection(done, flawless=True, most_tokens=None) is None
    assert rejection(done, flawless=True, most_tokens=None, rule="strict") is not None
    assert rejection(done, flawless=False, most_tokens=None, rule="paper") is Rejection.FLAWED
    assert rejection(done, flawless=True, most_tokens=99, rule="paper") is Rejection.TOO_LONG
    cut_off = done.model_copy(update={"stop_reason": StopReason.EXECUTIONS})
    assert rejection(cut_off, flawless=True, most_tokens=None, rule="paper") is Rejection.UNFINISHED


def test_a_failed_review_is_a_reason_of_its_own():
    for changes in ({}, {"verdict": verdict(VerdictStatus.WRONG)}):
        done = trajectory(solve(), **changes)
        assert rejection(done, flawless=False, most_tokens=None, review_failed=True) is Rejection.REVIEW
    unlabelled = trajectory(verdict=None)
    assert rejection(unlabelled, flawless=False, most_tokens=None, review_failed=True) is Rejection.UNGRADED


def test_a_status_word_needs_no_optimal_solve():
    infeasible = RIGHT.model_copy(update={"expected": "infeasible", "got": "infeasible"})
    done = trajectory(solve(solver_status="Infeasible"), answer="infeasible", verdict=infeasible)
    assert judged(done) is None


def test_an_export_names_a_prompt_that_there_is(golden, tmp_path):
    for form in ("messages", "parquet", "jsonl"):
        with pytest.raises(InputError, match="prompt is 'calm-9'; it must be one of"):
            export([golden], tmp_path / "x" / "golden", form, prompt="calm-9")
    with pytest.raises(InputError, match="does not say which prompt"):
        export([golden], tmp_path / "x" / "golden", "messages")
    assert not (tmp_path / "x").exists()
    assert export([golden], tmp_path / "x" / "golden", "jsonl") == 1


def golden_of(store: Store, **case) -> GoldenTrajectory:
    curate(ScriptedIntervener(strict), store, **case)
    return golden_trajectory(PROBLEM, store.trajectories[0], store.trajectories[-1], store.interventions)


@pytest.fixture
def golden() -> GoldenTrajectory:
    return golden_of(Store(), flaws=2, codec=ByteCodec())


def test_a_golden_trajectory_carries_its_hints_and_their_share(golden):
    spans = golden.trajectory.spans
    total = sum(len(s.token_ids or ()) for s in spans)
    hints = sum(len(s.token_ids or ()) for s in spans if s.author is Author.INTERVENER)
    assert hints > 0
    assert golden.edited_token_share == pytest.approx(hints / total)
    assert len(golden.interventions) == 2
    assert golden.question == PROBLEM.question


def test_jsonl_is_read_back_unchanged(golden, tmp_path):
    path = tmp_path / "deep" / "er" / "golden.jsonl"
    assert export([golden, golden], path, "jsonl") == 2
    lines = path.read_text().splitlines()
    assert [GoldenTrajectory.model_validate_json(line) for line in lines] == [golden, golden]
    assert "schema" in json.loads(lines[0])["trajectory"]  # the name in files, not the one in Python


def test_a_message_is_one_question_with_its_answer_and_what_it_took(golden, tmp_path):
    assert export([golden], tmp_path / "golden.jsonl", "messages", prompt="calm-1") == 1
    row = json.loads((tmp_path / "golden.jsonl").read_text())
    spans = golden.trajectory.spans
    assert {key: value for key, value in row.items() if not key.endswith("mask")} == {
        "problem_id": "p",
        "sample": 0,
        "messages": [
            {"role": "user", "content": user_message("calm-1", PROBLEM.question)},
            {"role": "assistant", "content": golden.trajectory.response},
        ],
        "token_ids": [token for span in spans for token in span.token_ids],
        "hints": ["HINT: I code it.\n"] * 2,
        "edited_token_share": golden.edited_token_share,
        "token_modification": golden.token_modification,
    }


def test_text_is_exported_as_it_is_read_when_it_is_not_ascii(golden, tmp_path):
    asked = golden.model_copy(update={"question": "Wie viel für 東京?"})
    for form in ("jsonl", "messages"):
        export([asked], tmp_path / "golden.jsonl", form, prompt="calm-1")
        assert "Wie viel für 東京?" in (tmp_path / "golden.jsonl").read_text(encoding="utf-8")


def test_messages_mask_what_programs_printed(golden, tmp_path):
    export([golden], tmp_path / "golden.jsonl", "messages", prompt="calm-1")
    row = json.loads((tmp_path / "golden.jsonl").read_text())
    assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
    learned = [token for token, mask in zip(row["token_ids"], row["loss_mask"], strict=True) if mask]
    text = ByteCodec().decode(learned)
    assert "```output" not in text
    assert "HINT" in text
    assert "\\boxed{400}" in text
    written = [token for token, mask in zip(row["token_ids"], row["response_mask"], strict=True) if mask]
    assert "HINT" not in ByteCodec().decode(written)
    assert all(
        learned >= drawn for learned, drawn in zip(row["loss_mask"], row["response_mask"], strict=True)
    )  # fine-tuning learns whatever reinforcement does


def test_a_text_only_trajectory_has_no_mask(tmp_path):
    text_only = golden_of(Store(), flaws=1)
    export([text_only], tmp_path / "golden.jsonl", "messages", prompt="calm-1")
    row = json.loads((tmp_path / "golden.jsonl").read_text())
    assert row["token_ids"] is None
    assert row["response_mask"] is None
    assert row["loss_mask"] is None


@pytest.mark.parametrize("count", [0, 2])
def test_parquet_holds_a_row_for_each(golden, tmp_path, count):
    from pyarrow import parquet

    assert export([golden] * count, tmp_path / "golden.parquet", "parquet", prompt="calm-1") == count
    assert parquet.read_table(tmp_path / "golden.parquet").num_rows == count


def test_the_missing_extra_is_named_when_parquet_cannot_be_written(golden, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pyarrow is not installed.*'calmstorm\[parquet\]'"):
        export([golden], tmp_path / "golden.parquet", "parquet", prompt="calm-1")


def test_an_unknown_format_is_refused(golden, tmp_path):
    with pytest.raises(InputError, match="one of jsonl, parquet, messages"):
        export([golden], tmp_path / "x", "csv")
