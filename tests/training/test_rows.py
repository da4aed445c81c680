"""What goes into each optimizer step, however it is packed and shared."""

from __future__ import annotations

import pytest

from calmstorm.errors import InputError, SettingsError
from calmstorm.settings import SftSettings, validate
from calmstorm.training.encode import Example
from calmstorm.training.rows import FILLER, bucketed_order, pack, schedule
from calmstorm.training.sft import split
from tests.training.tiny_model import golden


def sequences(*lengths: int) -> list[Example]:
    return [Example(input_ids=(n,) * length, labels=(n,) * length) for n, length in enumerate(lengths, 1)]


def contents(rows: list[tuple[Example, ...]]) -> list[int]:
    return sorted(example.input_ids[0] for row in rows for example in row if example is not FILLER)


def test_packed_rows_hold_every_sequence_once_and_no_more_than_fits() -> None:
    rows = pack(sequences(5, 9, 3, 7, 2, 4), 10)
    assert contents(rows) == [1, 2, 3, 4, 5, 6]
    assert [sum(len(example.input_ids) for example in row) for row in rows] == [9, 10, 9, 2]
    assert pack(sequences(6, 6), 10) == [(sequences(6)[0],), (sequences(6, 6)[1],)]


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_every_step_has_the_same_sequences(packing: bool, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = sequences(*range(3, 14))
    settings = SftSettings(batch=4, micro_batch=2, sequence_tokens=20, packing=packing, processes=processes)
    order = bucketed_order([len(example.input_ids) for example in examples], 22, 4, seed=3)
    expected = [sorted(index + 1 for index in order[at : at + 4]) for at in range(0, 22, 4)]
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    plan = schedule(examples, 22, settings, seed=3)
    per_step = plan.rows_per_pass * plan.passes_per_step * processes
    steps = [plan.rows[at : at + per_step] for at in range(0, len(plan.rows), per_step)]
    assert [contents(step) for step in steps] == expected
    if packing or processes > 1:
        assert {len(step) for step in steps} == {per_step}
    assert plan.longest <= 2 * 20


def test_a_batch_that_the_processes_cannot_share_is_refused_before_anything_runs() -> None:
    with pytest.raises(SettingsError, match=r"batch is 8; 3 processes cannot share it evenly: set batch to a multiple"):
        validate(SftSettings, {"batch": 8, "processes": 3}, "recipe")
    assert schedule(sequences(1, 1), 2, SftSettings(batch=6, micro_batch=3), 1).rows_per_pass == 3


def test_a_process_takes_fewer_sequences_at_once_where_its_share_is_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    plan = schedule(sequences(1, 1), 2, SftSettings(batch=8, micro_batch=8, processes=4), 1)
    assert (plan.rows_per_pass, plan.passes_per_step) == (2, 1)


def test_validation_holds_out_whole_problems_and_the_same_ones_again() -> None:
    lessons = [golden(number % 5) for number in range(15)]
    learned, held_out = split(lessons, 0.4, seed=7)
    problems = {item.trajectory.problem_id for item in held_out}
    assert len(problems) == 2
    assert (len(learned), len(held_out)) == (9, 6)
    assert problems.isdisjoint(item.trajectory.problem_id for item in learned)
    assert split(lessons, 0.4, seed=7) == (learned, held_out)
    assert split(lessons, 0.0, seed=7) == (lessons, [])


def test_validation_takes_at_least_one_problem_and_leaves_at_least_one() -> None:
    assert len(split([golden(0), golden(1)], 0.01, seed=1)[1]) == 1
    with pytest.raises(InputError, match=r"validation is 0\.5; of 1 problems it would hold out 1"):
        split([golden(0), golden(0)], 0.5, seed=1)
