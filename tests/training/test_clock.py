"""What the time of rollouts went into."""

from __future__ import annotations

import pytest

from calmstorm.training.clock import Activity, RolloutClock


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def test_running_code_counts_only_while_nothing_is_generated() -> None:
    hands = Hands()
    clock = RolloutClock(hands)
    with clock.during(Activity.GENERATE):
        hands.time = 1.0
        with clock.during(Activity.EXECUTE):
            hands.time = 3.0
    assert clock.seconds == {Activity.GENERATE: 3.0, Activity.EXECUTE: 0.0, Activity.SCORE: 0.0}
    with clock.during(Activity.EXECUTE):
        hands.time = 4.0
    assert clock.seconds[Activity.EXECUTE] == 1.0


def test_what_overlaps_counts_once_and_pauses_in_nothing() -> None:
    hands = Hands()
    clock = RolloutClock(hands)
    first, second, grading = (
        clock.during(activity) for activity in (Activity.EXECUTE, Activity.EXECUTE, Activity.SCORE)
    )
    for time, move in ((0, first.__enter__), (1, second.__enter__), (2, grading.__enter__)):
        hands.time = time
        move()
    for time, left in ((5, first), (6, second), (8, grading)):
        hands.time = time
        left.__exit__(None, None, None)
    hands.time = 100.0
    with clock.during(Activity.SCORE):
        hands.time = 101.0
    assert clock.seconds == {Activity.GENERATE: 0.0, Activity.EXECUTE: 6.0, Activity.SCORE: 3.0}


def test_time_is_counted_when_what_is_done_fails() -> None:
    hands = Hands()
    clock = RolloutClock(hands)

    def fail() -> None:
        with clock.during(Activity.EXECUTE):
            hands.time = 2.0
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    hands.time = 9.0
    with clock.during(Activity.SCORE):
        pass
    assert clock.seconds[Activity.EXECUTE] == 2.0
