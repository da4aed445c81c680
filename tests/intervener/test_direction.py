from __future__ import annotations

import pytest

from calmstorm.intervener.rules.direction import wanted_sense
from calmstorm.records import Sense

MAX, MIN = Sense.MAXIMIZE, Sense.MINIMIZE


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("At most 40 hours are there. Maximize the profit.", MAX),
        ("At least 40 units are needed. How should one minimise the cost?", MIN),
        ("A minimum of 40 kg is required. What is the lowest cost?", MIN),
        ("The maximum capacity is 30. Find the cheapest plan.", MIN),
        ("At most 8 can be sold. What is the highest revenue?", MAX),
        ("No more than a maximum of 5 trucks. Which plan has the least cost?", MIN),
        ("40 must be covered at minimum. Compute the greatest gain.", MAX),
        ("At most 40 hours are there. What does the plan cost?", None),
        ("Maximize profit and minimize waste.", None),
        ("What is 6 * 7?", None),
        ("Maximizing profit is the aim; the smallest batch has 4 units.", MAX),
    ],
)
def test_a_limit_is_no_wish(question, expected):
    assert wanted_sense(question) is expected
