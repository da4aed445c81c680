from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmstorm.grading.boxes import find_boxes
from calmstorm.intervener.segments import segments
from calmstorm.records import Execution, ExecutionStatus, SpanKind
from calmstorm.rollout.output_block import output_block


def execution(stdout: str = "", stderr: str = "", status: ExecutionStatus = ExecutionStatus.OK) -> Execution:
    return Execution(status=status, stdout=stdout, stderr=stderr, wall_seconds=10.0, tier="unsafe")


TRACEBACK = 'Traceback (most recent call last):\n  File "script.py", line 7, in <module>\nKeyError: "labor"\n'


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (execution("Optimal 400.0\n[1.0]\n\n"), "Optimal 400.0\n[1.0]"),
        (execution(), "(no output)"),
        (execution("  \n"), "(no output)"),
        (execution("1\n", "a warning\n"), "1"),
        (execution("1\n", TRACEBACK, ExecutionStatus.ERROR), '1\nKeyError: "labor" (line 7)'),
        (execution("", "SyntaxError: no\n", ExecutionStatus.ERROR), "SyntaxError: no"),
        (execution("", "", ExecutionStatus.ERROR), "Error: the script failed without a message"),
        (execution("1", "", ExecutionStatus.TIMEOUT), "1\nTimeoutError: stopped after 10 s"),
        (execution("", "", ExecutionStatus.MEMORY), "MemoryError: the memory limit was reached"),
        (execution("", "", ExecutionStatus.EARLY_EXIT), "ExitError: the script ended its process early"),
        (execution("", "", ExecutionStatus.OUTPUT_LIMIT), "OutputError: too much output"),
        (execution("", "", ExecutionStatus.KILLED), "KilledError: the script was killed"),
    ],
)
def test_an_outcome_is_shown_as_one_block(outcome, expected):
    assert output_block(outcome, 800) == f"```output\n{expected}\n```\n"


@pytest.mark.parametrize("status", ExecutionStatus)
def test_every_outcome_has_words(status):
    assert output_block(execution(status=status), 800).count("\n") == 3


def test_a_long_output_is_cut_in_the_middle_and_says_so():
    block = output_block(execution("a" * 1000 + "b" * 1000), 800)
    assert block == f"```output\n{'a' * 400}\n... [1200 characters cut] ...\n{'b' * 400}\n```\n"


def test_the_last_error_survives_the_cut():
    block = output_block(execution("x" * 5000, TRACEBACK, ExecutionStatus.ERROR), characters=100)
    assert 'KeyError: "labor" (line 7)' in block


def test_an_output_of_just_the_allowed_length_is_shown_whole():
    assert output_block(execution("a" * 40), 40) == f"```output\n{'a' * 40}\n```\n"


def test_fences_in_an_output_are_taken_apart():
    assert output_block(execution("```python\n"), 40) == "```output\n` ` `python\n```\n"


@given(st.text(alphabet="`\n a\\boxed{1}", max_size=60), st.integers(40, 800))
def test_a_script_cannot_close_its_block(stdout, characters):
    block = output_block(execution(stdout), characters)
    assert [part.kind for part in segments(block)] == [SpanKind.OUTPUT]
    assert find_boxes(block) == ()
