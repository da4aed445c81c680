"""How rollouts are spread over processes and passes."""

from __future__ import annotations

import random

import pytest

from calmstorm.errors import InputError
from calmstorm.settings import RlSettings
from calmstorm.training.passes import arrange, passes_per_update, spread


@pytest.mark.parametrize("micro_batch", [1, 2, 4, 8, 12, 24])
def test_every_row_is_in_one_pass_and_what_teaches_comes_together(micro_batch: int) -> None:
    draw = random.Random(micro_batch)
    groups = [row // 8 for row in range(48)]
    lengths = [draw.randrange(10, 500) for _ in groups]
    teaches = [group not in (2, 5) and draw.random() < 0.8 for group in groups]
    passes = arrange(groups, lengths, teaches, micro_batch)
    assert [len(rows) for rows in passes] == [micro_batch] * (48 // micro_batch)
    assert sorted(row for rows in passes for row in rows) == list(range(48))
    run = [[row for row in rows if teaches[row]] for rows in passes]
    longest = [max((lengths[row] for row in rows), default=0) for rows in run]
    assert longest == sorted(longest, reverse=True)  # so that processes run passes of like length at the same time
    if 8 % micro_batch == 0:
        assert all(len({groups[row] for row in rows}) <= 1 for rows in run)
    assert passes == arrange(groups, lengths, teaches, micro_batch)


def test_rows_of_like_length_share_a_pass() -> None:
    lengths = [10, 500, 20, 400, 30, 300, 40, 200]
    assert arrange([0] * 8, lengths, [True] * 8, 2) == [[1, 3], [5, 7], [6, 4], [2, 0]]


def test_rows_that_teach_nothing_fill_what_is_left() -> None:
    teaches = [True, False, False, True, False, False, False, False]
    passes = arrange([0] * 4 + [1] * 4, [5] * 8, teaches, 2)
    assert [sum(teaches[row] for row in rows) for rows in passes] == [2, 0, 0, 0]


def test_one_process_takes_prompts_in_their_order() -> None:
    settings = RlSettings(prompts_per_step=4, mini_batch=2)
    assert spread(8, settings, 1) == list(range(8))


def test_every_process_has_its_share_of_every_mini_batch() -> None:
    settings = RlSettings(prompts_per_step=8, mini_batch=4, samples=2)
    order = spread(16, settings, 2)
    blocks = [order[at : at + 4] for at in range(0, 16, 4)]  # the trainer gives them to the processes in turn
    assert blocks == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_passes_per_update_follow_from_the_sizes() -> None:
    settings = RlSettings(prompts_per_step=8, mini_batch=4, samples=8, micro_batch=2)
    assert [passes_per_update(settings, processes) for processes in (1, 2, 4)] == [16, 8, 4]


@pytest.mark.parametrize(
    ("changes", "processes", "message"),
    [
        (
            {"micro_batch": 5},
            2,
            r"rl.micro_batch is 5; it must divide the 16 rollouts .*\(4 problems x 8 samples / 2\): set .* to 4",
        ),
        ({"micro_batch": 64}, 4, "rl.micro_batch is 64; it must divide the 8 rollouts .* set rl.micro_batch to 8"),
        ({}, 3, "rl.mini_batch is 4; each of the 3 processes takes whole problems, so it must be a multiple of 3"),
    ],
)
def test_sizes_that_do_not_divide_are_refused_with_the_remedy(
    changes: dict[str, int], processes: int, message: str
) -> None:
    settings = RlSettings(**{"prompts_per_step": 8, "mini_batch": 4, "samples": 8, **changes})
    with pytest.raises(InputError, match=message):
        passes_per_update(settings, processes)
