from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from calmstorm.intervener.hint_checks import Unusable, place
from calmstorm.intervener.leaks import gives_away
from calmstorm.intervener.rules import find_flaws
from calmstorm.records import Author, StopReason
from tests.intervener.workshop_case import WORKSHOP, captured, trajectory_of

PIECES = [
    "I try plans by hand.\n",
    "Maximize profit: 30 * desk + 20 * chair\n",
    "- labor: 4 * desk <= 40\n",
    "The variables are continuous.\n",
    "```python\nimport pulp\nm.solve()\n```\n",
    "```output\nOptimal 300.0\n```\n",
    "```output\nNameError: name 'm' is not defined\n```\n",
    "```\n",
    "```python\n",
    "Let me redo the sum by hand: 3 * 4 = 12.\n",
    "\\boxed{400}",
    "\\boxed{",
    "</think>\n",
    " ",
    "\n",
    "\u2028x\x85y\r\n",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.booleans(), st.sampled_from(list(StopReason)))
def test_flaws_of_any_text_lie_within_it_and_in_order(pieces, seen, stop_reason):
    response = "".join(pieces)
    formulations = [captured(constraints=())] if seen else []
    findings = find_flaws(WORKSHOP, response, formulations=formulations, stop_reason=stop_reason)
    starts = [flaw.start for flaw in findings]
    assert starts == sorted(starts)
    assert all(0 <= flaw.start <= flaw.end <= len(response) for flaw in findings)
    assert len({flaw.trigger for flaw in findings}) == len(findings)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(list(Author)), st.sampled_from(PIECES)), min_size=1, max_size=8),
    st.floats(0, 1, exclude_max=True),
)
def test_a_hint_is_never_placed_behind_the_passage_nor_inside_code(pieces, share):
    done = trajectory_of(WORKSHOP, *pieces)
    start = int(share * len(done.response))
    try:
        position = place(done, start)
    except Unusable:
        return
    assert 0 <= position <= start
    assert position == 0 or position == start or done.response[:position].endswith("\n")


@given(st.text(max_size=80))
def test_any_words_can_be_asked_about(text):
    assert gives_away(text, WORKSHOP) in (True, False)


def test_a_long_response_is_reviewed_in_time():
    prose = "Let me think about 4 + 3 of these, and x1 + 2 <= 40, for a while. " * 40 + "\n"
    response = (prose * 20 + PIECES[4] + PIECES[5]) * 8
    started = time.monotonic()
    find_flaws(WORKSHOP, response, formulations=[captured(constraints=())])
    assert time.monotonic() - started < 3
